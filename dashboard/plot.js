// Draws every .plot of a page once it can be seen, follows light and dark, saves pictures and numbers in the browser.
// LOOK: the two templates, twins of colours, the address of plotly.js. A page may set window.plotlyReady, a promise
// of Plotly, before; then nothing is loaded. It tells 'plot-pick' {plot, point} at the figure when a point is clicked.
const LOOK = /*LOOK*/ null;
const NARROW_PIXELS = 560, TABLE_ROWS = 500, SAVED_PIXELS = 1100;

const plotTheme = () => getComputedStyle(document.body).getPropertyValue('--plot-theme').trim() || 'light';

function loadPlotly() {
  window.plotlyReady ??= new Promise((done, failed) => {
    const script = document.createElement('script');
    script.src = new URL(LOOK.plotly.slice(1), document.baseURI);
    script.onload = () => done(window.Plotly);
    script.onerror = () => { window.plotlyReady = null; failed(new Error('plotly.js cannot be loaded')); };
    document.head.append(script);
  });
  return window.plotlyReady;
}

// A copy with each colour of the light ground exchanged for its twin.
function recolour(value) {
  if (typeof value === 'string') return LOOK.twins[value.toLowerCase()] ?? value;
  if (Array.isArray(value)) return value.length && typeof value[0] === 'number' ? value : value.map(recolour);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, recolour(each)]));
  }
  return value;
}

const narrowed = (template) => {
  const small = structuredClone(template);
  small.layout.font.size = 12;
  Object.assign(small.data.heatmap[0].colorbar, {thickness: 8, tickfont: {...small.data.heatmap[0].colorbar.tickfont, size: 10}});
  small.layout.dragmode = false;  // a finger scrolls the page
  return small;
};

function readSpec(figure) {
  figure.spec ??= JSON.parse(figure.querySelector('.plot-spec').textContent);
  return figure.spec;
}

async function draw(figure) {
  const spec = readSpec(figure), canvas = figure.querySelector('.plot-canvas'), theme = plotTheme();
  const narrow = canvas.clientWidth < NARROW_PIXELS, state = theme + narrow;
  if (figure.drawn === state) return;
  figure.drawn = state;
  let Plotly;
  try { Plotly = await loadPlotly(); } catch (error) { canvas.textContent = `This plot cannot be drawn: ${error.message}.`; return; }
  const paint = theme === 'dark' ? recolour : structuredClone, template = LOOK[theme];
  const layout = {...paint(spec.layout), template: narrow ? narrowed(template) : template, autosize: true};
  if (narrow && spec.layout.meta?.narrow) Object.assign(layout, paint(spec.layout.meta.narrow));
  const config = {displaylogo: false, responsive: false, displayModeBar: narrow ? false : 'hover', scrollZoom: false,
    showSendToCloud: false, plotlyServerURL: '',  // by itself plotly.js 4 has a button that uploads the numbers
    modeBarButtonsToRemove: ['toImage', 'select2d', 'lasso2d', 'autoScale2d'], showTips: false};
  await Plotly.react(canvas, paint(spec.data), layout, config);
  if (figure.connected) return;
  figure.connected = true;
  figure.classList.toggle('clickable', Boolean(spec.clickable));
  canvas.on('plotly_click', (event) => {
    const point = event.points[0]?.customdata;
    if (spec.clickable && point != null) {
      figure.dispatchEvent(new CustomEvent('plot-pick', {bubbles: true, detail: {plot: spec.name, point}}));
    }
  });
}

function save(text, name, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const cell = (value) => {
  const text = value == null ? '' : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

async function saveAs(figure, kind) {
  const spec = readSpec(figure), canvas = figure.querySelector('.plot-canvas');
  if (kind === 'csv') {
    save([spec.columns, ...spec.rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n', `${spec.name}.csv`, 'text/csv');
    return;
  }
  const Plotly = await loadPlotly(), width = Math.max(canvas.clientWidth, SAVED_PIXELS);
  await draw(figure);
  const height = canvas.clientHeight;
  const title = {text: spec.title.replaceAll('<', '&lt;'), x: 0.01, xanchor: 'left', y: 0.985, yanchor: 'top', font: {size: 18}};
  const layout = {...canvas.layout, title, width, height: height + 44, autosize: false,
    margin: {...(canvas.layout.margin || {}), t: (canvas.layout.margin?.t ?? 12) + 44}};
  const shown = {data: canvas.data, layout, config: {staticPlot: true}};
  await Plotly.downloadImage(shown, {format: kind, filename: spec.name, width, height: height + 44, scale: kind === 'png' ? 2 : 1});
}

function fillTable(figure) {
  const spec = readSpec(figure), place = figure.querySelector('.plot-table');
  if (place.firstChild) return;
  const table = document.createElement('table'), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const name of spec.columns) { const th = document.createElement('th'); th.scope = 'col'; th.textContent = name; head.append(th); }
  for (const row of spec.rows.slice(0, TABLE_ROWS)) {
    const line = body.insertRow();
    for (const value of row) line.insertCell().textContent = value == null ? '' : typeof value === 'number' ? +value.toFixed(3) : value;
  }
  const caption = table.createCaption();
  caption.textContent = spec.rows.length > TABLE_ROWS ? `The first ${TABLE_ROWS} of ${spec.rows.length} rows; the CSV has all.` : `${spec.rows.length} rows`;
  place.tabIndex = 0;
  place.setAttribute('role', 'region');
  place.setAttribute('aria-label', `Numbers of ${spec.title}`);
  place.append(table);
}

// Once for the whole page: what follows the ground, the width and the eye.
function watchPlots() {
  if (window.plotWatch) return window.plotWatch;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target.closest('.plot'));
  }, {rootMargin: '200px'});
  const sized = new ResizeObserver((entries) => {
    for (const {target} of entries) {
      const figure = target.closest('.plot');
      if (!figure?.connected || !target.clientWidth || figure.width === target.clientWidth) continue;
      figure.width = target.clientWidth;
      draw(figure).then(() => window.Plotly.Plots.resize(target));
    }
  });
  const redraw = () => document.querySelectorAll('.plot').forEach((figure) => {
    if (figure.connected && figure.offsetParent) draw(figure); else if (figure.connected) { figure.drawn = ''; seen.unobserve(figure.querySelector('.plot-canvas')); seen.observe(figure.querySelector('.plot-canvas')); }
  });
  const classes = new MutationObserver(redraw);
  for (const each of [document.documentElement, document.body]) classes.observe(each, {attributes: true, attributeFilter: ['class', 'data-theme']});
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  window.plotWatch = {seen, sized};
  return window.plotWatch;
}

function showPlots(root) {
  const {seen, sized} = watchPlots();
  for (const figure of root.querySelectorAll('.plot')) {
    const text = figure.querySelector('.plot-spec').textContent, canvas = figure.querySelector('.plot-canvas');
    if (figure.shown === text) continue;
    if (figure.shown) {  // gradio puts another plot into the elements of the one before
      window.Plotly?.purge(canvas);
      figure.querySelector('.plot-table').replaceChildren();
      Object.assign(figure, {spec: undefined, drawn: '', connected: false});
      seen.unobserve(canvas);
    } else {
      figure.addEventListener('click', (event) => {
        const button = event.target.closest('[data-save]');
        if (button) saveAs(figure, button.dataset.save);
      });
      figure.querySelector('details').addEventListener('toggle', () => fillTable(figure));
    }
    figure.shown = text;
    seen.observe(canvas);
    sized.observe(canvas);
  }
}
