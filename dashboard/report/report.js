// A report in a file: unpacks plotly.js, follows light and dark, draws all plots, and fits them to paper.
const PAPER_PIXELS = 660;
const darkGround = matchMedia('(prefers-color-scheme: dark)');
const followGround = () => document.documentElement.classList.toggle('dark', darkGround.matches);
followGround();
darkGround.addEventListener('change', followGround);

async function unpackPlotly() {
  if (!('DecompressionStream' in window)) throw new Error('this browser cannot unpack plotly.js');
  const packed = Uint8Array.from(atob(document.getElementById('plotly-packed').textContent), (each) => each.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  return window.Plotly;
}

for (const picture of document.querySelectorAll('.picture')) picture.scrollLeft = (picture.scrollWidth - picture.clientWidth) / 2;

window.plotlyReady = unpackPlotly();
window.plotlyReady.catch(() => { document.getElementById('no-plots').hidden = false; });
showPlots(document.body);

// All plots one after the other, also those far below, so that they are there when the page is printed.
const figures = [...document.querySelectorAll('.plot')];
async function drawAll() {
  for (const figure of figures) {
    await draw(figure);
    await new Promise((done) => setTimeout(done));
  }
  document.documentElement.dataset.drawn = figures.length;
}
window.plotlyReady.then(drawAll, () => {});

addEventListener('beforeprint', () => {
  document.documentElement.classList.remove('dark');
  for (const figure of figures) {
    draw(figure);
    const canvas = figure.querySelector('.plot-canvas'), inner = canvas.firstElementChild;
    if (inner) inner.style.zoom = Math.min(1, PAPER_PIXELS / canvas.clientWidth);
  }
});
addEventListener('afterprint', () => {
  followGround();
  for (const figure of figures) {
    const inner = figure.querySelector('.plot-canvas').firstElementChild;
    if (inner) inner.style.zoom = '';
  }
});
