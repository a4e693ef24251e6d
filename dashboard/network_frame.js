// Shows a network in a sandboxed frame once it can be seen; its ground and its height follow. FRAME: where the page around
// the data is, and the hole in it. trigger: of gradio, to tell a pair that is clicked in the frame.
const FRAME = /*FRAME*/ null;
const frameTheme = () => getComputedStyle(document.body).getPropertyValue('--plot-theme').trim() || 'light';

function loadFramePage() {
  window.networkPage ??= fetch(new URL(FRAME.page.slice(1), document.baseURI)).then((answer) => {
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.text();
  }).catch((error) => { window.networkPage = null; throw error; });
  return window.networkPage;
}

async function fillNetwork(box, trigger) {
  let page;
  try { page = await loadFramePage(); } catch (error) { box.append(`The network cannot be drawn: ${error.message}.`); return; }
  const data = JSON.parse(box.querySelector('.network-data').textContent);
  // Inside a script no text may end it.
  const json = JSON.stringify({...data, theme: frameTheme()}).replaceAll('<', '\\u003c');
  const frame = document.createElement('iframe');
  frame.setAttribute('sandbox', 'allow-scripts');
  frame.title = box.dataset.title;
  frame.srcdoc = page.replace(FRAME.hole, () => json);
  const tell = () => frame.contentWindow?.postMessage({theme: frameTheme()}, '*');
  const classes = new MutationObserver(tell);
  for (const each of [document.documentElement, document.body]) classes.observe(each, {attributes: true, attributeFilter: ['class']});
  const hear = (event) => {
    if (!frame.isConnected) { removeEventListener('message', hear); classes.disconnect(); return; }
    if (event.source !== frame.contentWindow) return;
    const {height, pair} = event.data ?? {};
    if (Number.isFinite(height)) frame.style.height = `${Math.min(Math.max(height, 300), 3000)}px`;
    if (Array.isArray(pair)) trigger('pick', {pair});
  };
  addEventListener('message', hear);
  box.append(frame);
}

function showNetwork(root, trigger) {
  const box = root.querySelector('.network-frame');
  const text = box?.querySelector('.network-data')?.textContent;
  if (!box || box.shown === text) return;
  box.shown = text;
  box.querySelector('iframe')?.remove();  // gradio puts another network into the elements of the one before
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    fillNetwork(box, trigger);
  }, {rootMargin: '200px'});
  seen.observe(box);
}
