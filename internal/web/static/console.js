// The console: counts, one live chart, rejects and devices, all from the API
// that everybody may use. No framework; uPlot draws.
(() => {
'use strict';

// A page of the server is read again while somebody looks at it and does nothing
// in it.
const served = document.querySelector('main[data-refresh]');
async function reread(address) {
  const main = document.querySelector('main');
  const r = await fetch(address, { headers: { Accept: 'text/html' } }).catch(() => null);
  if (!r?.ok) return; // what is shown says of when it is
  const next = new DOMParser().parseFromString(await r.text(), 'text/html').querySelector('main');
  if (address !== location.href) return; // the reader has gone elsewhere
  const aside = main.querySelector('.scroll')?.scrollLeft;
  for (const e of next.querySelectorAll('[data-keep]')) { // pictures that are there are not drawn anew
    const old = document.getElementById(e.id);
    if (old?.outerHTML === e.outerHTML) e.replaceWith(old);
  }
  document.querySelector('main').replaceWith(document.adoptNode(next));
  if (aside) next.querySelector('.scroll').scrollLeft = aside;
}
let moving = null;
if (served) {
  setInterval(() => {
    const main = document.querySelector('main');
    if (document.hidden || moving || main.contains(document.activeElement) || String(getSelection())) return;
    reread(location.href);
  }, 1000 * served.dataset.refresh);

  // The map is moved by hand: the server draws it from another place.
  const go = (address) => { history.replaceState(null, '', address); return reread(location.href); };
  const look = (map, zoom, dx, dy) => { // pixels of the map
    const q = new URLSearchParams(location.search), [lat, lon] = map.dataset.at.split(',').map(Number), size = 256 * 2 ** map.dataset.z;
    const x = (lon / 360 + .5) * size + dx, y = (.5 - Math.asinh(Math.tan(lat * Math.PI / 180)) / (2 * Math.PI)) * size + dy;
    q.set('z', zoom);
    q.set('at', `${(Math.atan(Math.sinh(Math.PI * (1 - 2 * y / size))) * 180 / Math.PI).toFixed(6)},${((x / size - .5) * 360).toFixed(6)}`);
    return go(`${location.pathname}?${q}`);
  };
  const scale = (map) => Math.max(map.clientWidth / map.viewBox.baseVal.width, map.clientHeight / map.viewBox.baseVal.height);
  document.addEventListener('click', (e) => {
    const link = e.target.closest?.('a[data-map]');
    if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    const name = link.getAttribute('aria-label');
    go(link.href).then(() => { if (e.detail === 0) document.querySelector(`a[aria-label="${CSS.escape(name)}"]`)?.focus(); });
  });
  document.addEventListener('pointerdown', (e) => {
    const map = e.target.closest?.('#map');
    if (map && e.button === 0 && !e.target.closest('a')) moving = { map, x: e.clientX, y: e.clientY };
  });
  document.addEventListener('pointermove', (e) => {
    if (!moving) return;
    const { map, x, y } = moving, k = scale(map), b = map.viewBox.baseVal;
    map.classList.add('moving');
    map.setAttribute('viewBox', `${(x - e.clientX) / k} ${(y - e.clientY) / k} ${b.width} ${b.height}`);
  });
  const drop = (e) => {
    if (!moving) return;
    const { map, x, y } = moving, k = scale(map), [dx, dy] = [(x - e.clientX) / k, (y - e.clientY) / k];
    const done = () => { moving = null; map.classList.remove('moving'); };
    if (Math.hypot(dx, dy) > 3) look(map, map.dataset.z, dx, dy).finally(done); else done();
  };
  document.addEventListener('pointerup', drop);
  document.addEventListener('pointercancel', () => { if (moving) { moving.map.setAttribute('viewBox', `0 0 ${moving.map.viewBox.baseVal.width} ${moving.map.viewBox.baseVal.height}`); moving = null; } });
  return;
}

const page = JSON.parse(document.getElementById('data').textContent);
const T = page.t, LANG = page.lang, ZH = LANG.startsWith('zh');
const $ = (id) => document.getElementById(id);
const TOP = 12;             // series drawn at once
const PAGE = 12;            // devices per page
const MAX_OPTIONS = 200;    // options shown in a picker

const el = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};
const say = (key, values = {}) => T[key].replace(/\{(\w+)\}/g, (_, k) => values[k]);
const rich = (text) => text.split('`').map((part, i) => (i % 2 ? el('code', { textContent: part }) : part));
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The API.

async function get(path, params = {}) {
  const query = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) for (const one of [v].flat()) if (one !== '') query.append(k, one);
  const r = await fetch(`${path}?${query}`, { headers: { Accept: 'application/json' } });
  if (r.status === 401) { location.assign('/signin'); }
  if (!r.ok) throw Object.assign(new Error(`${path}: ${r.status}`), { status: r.status });
  return r.json();
}
const prom = async (path, params) => (await get(`/prometheus/api/v1/${path}`, params)).data;

// every runs work at once and then each so many seconds while people look at
// the page; the next run begins when the last has ended.
const failing = new Set();
function every(seconds, work) {
  let timer = 0, running = false, again = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) { again = true; return; }
    running = true;
    try {
      if (!document.hidden) await work();
      failing.delete(work);
    } catch (e) {
      if (e instanceof TypeError || e.status >= 500) failing.add(work);
      if (!(e instanceof TypeError) && !e.status) throw e;
    } finally {
      running = false;
      $('stale').hidden = failing.size === 0;
      timer = setTimeout(run, again ? 0 : 1000 * (typeof seconds === 'function' ? seconds() : seconds));
      again = false;
    }
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) run(); });
  run();
  return run;
}

// Numbers, times, units.

const UNITS = { Cel: '°C', '%RH': '%', '%EL': '%', '/100': '%', '%': '%', By: 'B', B: 'B', 'ug/m3': 'µg/m³', 'm3/s': 'm³/s', '1/s': '/s', '1': '' };
const SUFFIXES = { percent: '%', bytes: 'B', celsius: '°C', seconds: 's', watts: 'W', hpa: 'hPa', ug_m3: 'µg/m³', m3_s: 'm³/s', kmh: 'km/h', db: 'dB', volts: 'V', amperes: 'A', m: 'm' };
let metadata = {};
function unitOf(metric) {
  const raw = metadata[metric]?.[0]?.unit || '';
  const bare = metric.replace(/_total$/, '');
  const suffix = Object.keys(SUFFIXES).find((x) => bare.endsWith(`_${x}`));
  return raw in UNITS ? UNITS[raw] : raw || SUFFIXES[suffix] || '';
}
const plain = new Intl.NumberFormat(LANG, { maximumFractionDigits: 0 });
function figure(v, unit = '') {
  if (v == null || Number.isNaN(v)) return '–';
  let scale = '';
  if (unit.startsWith('B')) {
    const steps = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];
    let i = 0;
    for (; Math.abs(v) >= 1024 && i < steps.length - 1; i++) v /= 1024;
    scale = steps[i];
  } else if (Math.abs(v) >= 1e6) {
    const steps = ['', 'k', 'M', 'G', 'T', 'P'];
    let i = 0;
    for (; Math.abs(v) >= 1000 && i < steps.length - 1; i++) v /= 1000;
    scale = steps[i];
  } else if (unit === 's' && v !== 0 && Math.abs(v) < 1) {
    [v, scale] = Math.abs(v) < 1e-3 ? [v * 1e6, 'µ'] : [v * 1e3, 'm'];
  }
  const a = Math.abs(v), digits = a >= 1000 ? 0 : a >= 100 ? 1 : a >= 1 || a === 0 ? 2 : a >= .01 ? 3 : 5;
  const least = digits === 5 || Number.isInteger(v) ? 0 : digits;
  const text = new Intl.NumberFormat(LANG, { minimumFractionDigits: least, maximumFractionDigits: digits }).format(v);
  const gap = scale + unit === '' || (unit === '%' && !scale) ? '' : ' ';
  return text + gap + scale + unit;
}
function ago(time) {
  if (!time) return '–';
  const s = (Date.now() - Date.parse(time)) / 1000;
  if (s < 5) return T.just_now;
  const [n, unit] = s < 100 ? [s, T.second] : s < 6000 ? [s / 60, T.minute] : s < 172800 ? [s / 3600, T.hour] : [s / 86400, T.day];
  return say('ago', { t: `${Math.round(n)}${ZH ? '' : ' '}${unit}` });
}
const period = (p) => (p ? p.replace(/(\D)0s$/, '$1').replace(/(\D)0m$/, '$1') : '–');
const clock = new Intl.DateTimeFormat(LANG, { hour: '2-digit', minute: '2-digit', hour12: false, hourCycle: 'h23' });
const clockSeconds = new Intl.DateTimeFormat(LANG, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false, hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(LANG, { month: 'short', day: 'numeric' });
const at = (seconds, f = clock) => f.format(new Date(seconds * 1000));

// Names.

const devices = new Map(); // id → device, for names; bounded below
let sites = {};
const nameOf = (d) => d?.tags?.[ZH ? 'name_zh' : 'name_en'] || '';
const regionOf = (code) => page.regions[code] || code;
const siteOf = (id) => sites[id]?.names?.[ZH ? 'zh' : 'en'] || id;
const kindOf = (kind) => T[`one_${kind}`] || kind;
function remember(d) {
  if (devices.size > 5000) devices.clear();
  devices.set(d.id, d);
}
async function learn(ids) {
  const unknown = [...new Set(ids)].filter((id) => id && !devices.has(id)).slice(0, 2 * TOP);
  await Promise.all(unknown.map(async (id) => {
    devices.set(id, { id });
    try { remember(await get(`/api/v1/devices/${encodeURIComponent(id)}`)); } catch { /* its id will do */ }
  }));
}

// What is chosen lives in the address, so that it can be shared and comes back.

const address = new URLSearchParams(location.search);
const chosen = {
  metric: address.get('metric') || '', devices: address.getAll('device'),
  group: address.get('group') || '', range: Number(address.get('range')) || 21600,
};
function choose(change) {
  Object.assign(chosen, change);
  const q = new URLSearchParams({ metric: chosen.metric, group: chosen.group, range: chosen.range });
  for (const d of chosen.devices) q.append('device', d);
  history.replaceState(null, '', `?${q}`);
  $('language').search = `?${new URLSearchParams([...q, ['lang', ZH ? 'en' : 'zh']])}`;
  pickMetric.show();
  pickSeries.show();
  linkCorrections();
  drawNow();
}
// One device that is chosen has a page of what was corrected of it.
function linkCorrections() {
  const one = chosen.devices.length === 1;
  $('plot-corrections').hidden = !one;
  if (one) $('plot-corrections').href = `/corrections?${new URLSearchParams({ device: chosen.devices[0] })}`;
}

// A picker is a button that opens a searchable list.

function picker(box, { label, options, pick, multiple = false }) {
  const value = el('b');
  const button = el('button', { type: 'button' }, el('span', { textContent: box.dataset.label }), value);
  const input = el('input', { type: 'search', placeholder: box.dataset.search, spellcheck: false, autocomplete: 'off' });
  const list = el('ul', { id: `${box.id}-list` });
  const popover = el('div', { className: 'popover', hidden: true }, input, list);
  button.setAttribute('aria-haspopup', 'listbox');
  button.setAttribute('aria-expanded', 'false');
  input.setAttribute('role', 'combobox');
  input.setAttribute('aria-label', box.dataset.search);
  input.setAttribute('aria-controls', list.id);
  input.setAttribute('aria-expanded', 'true');
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', box.dataset.label);
  if (multiple) list.setAttribute('aria-multiselectable', 'true');
  box.append(button, popover);
  let rows = [], here = -1, asked = 0;

  const close = (focus) => {
    if (popover.hidden) return;
    popover.hidden = true;
    button.setAttribute('aria-expanded', 'false');
    if (focus) button.focus();
  };
  const mark = (i) => {
    rows[here]?.node.classList.remove('at');
    here = rows.length === 0 ? -1 : (i + rows.length) % rows.length;
    if (here < 0) { input.removeAttribute('aria-activedescendant'); return; }
    rows[here].node.classList.add('at');
    rows[here].node.scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', rows[here].node.id);
  };
  const fill = async () => {
    const turn = ++asked;
    const all = await options(input.value.trim().toLowerCase());
    if (turn !== asked || popover.hidden) return;
    rows = [];
    const nodes = [];
    for (const o of all.slice(0, MAX_OPTIONS)) {
      if (o.head) { nodes.push(el('li', { className: 'head', textContent: o.head })); continue; }
      const node = el('li', { id: `${list.id}-${rows.length}` }, el('span', { textContent: o.text }), ...(o.note ? [el('small', { textContent: o.note })] : []));
      node.setAttribute('role', 'option');
      node.setAttribute('aria-selected', String(Boolean(o.selected)));
      const row = { ...o, node };
      node.addEventListener('mousedown', (e) => { e.preventDefault(); take(row); });
      rows.push(row);
      nodes.push(node);
    }
    if (rows.length === 0) nodes.push(el('li', { className: 'none', textContent: T.no_match }));
    if (all.length > MAX_OPTIONS) nodes.push(el('li', { className: 'none', textContent: say('more_match', { n: all.length - MAX_OPTIONS }) }));
    const keep = here;
    list.replaceChildren(...nodes);
    here = -1;
    mark(multiple && keep >= 0 ? Math.min(keep, rows.length - 1) : Math.max(0, rows.findIndex((r) => r.selected)));
  };
  const take = (row) => {
    pick(row.value);
    if (multiple && row.value !== '') fill(); else close(true);
  };
  const open = () => {
    popover.hidden = false;
    button.setAttribute('aria-expanded', 'true');
    input.value = '';
    here = -1;
    input.focus();
    fill();
  };
  button.addEventListener('click', () => (popover.hidden ? open() : close(true)));
  button.addEventListener('keydown', (e) => { if (e.key === 'ArrowDown') { e.preventDefault(); open(); } });
  input.addEventListener('input', () => { here = -1; fill(); });
  input.addEventListener('keydown', (e) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) { e.preventDefault(); mark(here + step); }
    if (e.key === 'Enter' && rows[here]) { e.preventDefault(); take(rows[here]); }
    if (e.key === 'Escape') { e.preventDefault(); close(true); }
  });
  box.addEventListener('focusout', (e) => { if (!box.contains(e.relatedTarget)) close(false); });
  const show = () => { value.textContent = label(); };
  show();
  return { show };
}

let metrics = { own: [], others: [] };
async function loadMetrics() {
  const [own, all, meta] = await Promise.all([
    prom('label/__name__/values', { 'match[]': '{device!=""}' }), prom('label/__name__/values'), prom('metadata'),
  ]);
  const mine = new Set(own);
  metrics = { own, others: all.filter((m) => !mine.has(m)) };
  const before = unitOf(chosen.metric);
  metadata = meta;
  if (unitOf(chosen.metric) !== before) { shown = ''; drawNow(); }
  if (!chosen.metric && all.length > 0) {
    const liked = ['air_temperature_celsius', 'host_cpu_percent', 'cpu_percent'].find((m) => mine.has(m));
    choose({ metric: liked || own.filter((m) => m !== 'device_presence')[0] || all[0] });
  }
}
const pickMetric = picker($('pick-metric'), {
  label: () => chosen.metric || '–',
  options: (find) => {
    const words = find.split(/\s+/);
    const fits = (m) => words.every((w) => m.toLowerCase().includes(w));
    const option = (m) => ({ value: m, text: m, note: unitOf(m), selected: m === chosen.metric });
    const own = metrics.own.filter(fits).map(option), others = metrics.others.filter(fits).map(option);
    return [...(own.length ? [{ head: T.devices }] : []), ...own, ...(others.length ? [{ head: T.subtitle }] : []), ...others];
  },
  pick: (metric) => choose({ metric }),
});
const pickSeries = picker($('pick-series'), {
  multiple: true,
  label: () => (chosen.devices.length === 0 ? T.series_all : chosen.devices.length === 1 ? nameOf(devices.get(chosen.devices[0])) || chosen.devices[0] : say('series_some', { n: chosen.devices.length })),
  options: async (find) => {
    const ids = chosen.metric ? await prom('label/device/values', { 'match[]': selector([]) }) : [];
    const wide = await get('/api/v1/devices', { limit: MAX_OPTIONS, q: find });
    wide.items.forEach(remember);
    const named = new Set(wide.items.map((d) => d.id));
    const fit = ids.filter((id) => !find || named.has(id) || id.toLowerCase().includes(find));
    fit.sort((a, b) => chosen.devices.includes(b) - chosen.devices.includes(a));
    const all = { value: '', text: T.series_all, selected: chosen.devices.length === 0 };
    return [...(find ? [] : [all]), ...fit.map((id) => ({ value: id, text: nameOf(devices.get(id)) || id, note: id, selected: chosen.devices.includes(id) }))];
  },
  pick: (id) => {
    if (id === '') { choose({ devices: [] }); return; }
    const rest = chosen.devices.filter((d) => d !== id);
    choose({ devices: rest.length < chosen.devices.length ? rest : [...rest, id] });
  },
});

// The chart.

const escapeRegexp = (s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const quote = (s) => JSON.stringify(s);
function selector(ids) {
  const match = [`__name__=${quote(chosen.metric)}`];
  if (ids.length > 0) match.push(`device=~${quote(ids.map(escapeRegexp).join('|'))}`);
  return `{${match.join(', ')}}`;
}
const isCounter = () => /_(total|count|sum|bucket)$/.test(chosen.metric);
function stepOf(range) {
  const least = Math.max(range / 360, 5);
  return [5, 10, 15, 30, 60, 120, 240, 300].find((s) => s >= least) || 600;
}
function expression(ids, step) {
  const base = isCounter() ? `rate(${selector(ids)}[${Math.max(60, 4 * step)}s])` : selector(ids);
  return chosen.group ? `avg by (${chosen.group}) (${base})` : base;
}
const keyOf = (labels) => Object.keys(labels).sort().map((k) => `${k}=${labels[k]}`).join('\n');
function titleOf(labels) {
  if (chosen.group) {
    const v = labels[chosen.group];
    return { region: regionOf, site: siteOf, kind: kindOf }[chosen.group](v || '–');
  }
  const own = ['__name__', 'device', 'kind', 'site', 'region', 'job'];
  const rest = Object.entries(labels).filter(([k]) => !own.includes(k)).map(([k, v]) => `${k} ${v}`).join(', ');
  const name = labels.device ? nameOf(devices.get(labels.device)) || labels.device : '';
  return [name, rest].filter(Boolean).join(' · ') || chosen.metric;
}

// ask returns the series to draw, aligned on one grid of times; where there is
// no value there is null, so that a gap stays a gap.
async function ask() {
  const step = stepOf(chosen.range), end = Math.floor(Date.now() / 1000 / step) * step, start = end - chosen.range;
  let ids = chosen.devices, all = 0;
  if (ids.length === 0 && !chosen.group) {
    const query = isCounter() ? `rate(${selector([])}[5m])` : selector([]);
    all = Number((await prom('query', { query: `count(${query})` })).result[0]?.value[1] || 0);
    if (all > TOP) {
      const top = (await prom('query', { query: `topk(${TOP}, ${query})` })).result;
      if (top.every((s) => s.metric.device)) ids = [...new Set(top.map((s) => s.metric.device))];
    }
  }
  const query = expression(ids, step);
  const { result } = await prom('query_range', { query, start, end, step });
  const times = Array.from({ length: Math.round(chosen.range / step) + 1 }, (_, i) => start + i * step);
  let series = result.map(({ metric, values }) => {
    const v = new Array(times.length).fill(null);
    for (const [t, x] of values) v[Math.round((t - start) / step)] = Number.isFinite(Number(x)) ? Number(x) : null;
    return { key: keyOf(metric), labels: metric, values: v, last: Number(values.at(-1)[1]) };
  });
  all = Math.max(all, series.length);
  series = series.sort((a, b) => b.last - a.last).slice(0, TOP);
  await learn(series.map((s) => s.labels.device));
  for (const s of series) s.title = titleOf(s.labels);
  series.sort((a, b) => a.title.localeCompare(b.title, LANG, { numeric: true }));
  return { query, times, series, all };
}

let plot = null, shown = '', hidden = new Set(), answer = null, turn = 0;
const colours = () => Array.from({ length: 8 }, (_, i) => css(`--s${i}`));
const dashOf = (i) => (i < 8 ? [] : [6, 3]);

async function draw() {
  if (!chosen.metric) { emptyPlot(T.no_metrics); return; }
  const mine = ++turn;
  const fresh = await ask();
  if (mine !== turn) return;
  answer = fresh;
  $('plot-query').textContent = answer.query;
  $('plot-query').title = answer.query;
  const n = answer.series.length;
  $('plot-note').textContent = answer.all > n ? say('top_n', { n, all: plain.format(answer.all) }) : '';
  $('plot').setAttribute('aria-label', say('chart_label', { metric: chosen.metric, n }));
  if (n === 0) { emptyPlot(T.no_points); return; }
  $('plot-empty').hidden = true;
  const table = [answer.times, ...answer.series.map((s) => s.values)];
  const shape = [chosen.metric, chosen.group, chosen.range, ...answer.series.map((s) => s.key)].join('\u0000');
  if (plot && shape === shown) plot.setData(table); else build(table, shape);
  legendValues(null);
}
function emptyPlot(text) {
  plot?.destroy();
  plot = null;
  shown = '';
  $('legend').replaceChildren();
  $('plot-empty').replaceChildren(el('span', {}, ...rich(text)));
  $('plot-empty').hidden = false;
}
const unitNow = () => unitOf(chosen.metric) + (isCounter() ? '/s' : '');

function build(table, shape) {
  plot?.destroy();
  if (!shape.startsWith(`${chosen.metric}\u0000${chosen.group}`) || shown.split('\u0000')[0] !== chosen.metric) hidden = new Set();
  shown = shape;
  const palette = colours(), box = $('plot'), unit = unitNow();
  const axis = { stroke: css('--soft'), font: `12px ${css('--sans')}`, ticks: { show: false }, grid: { stroke: css('--grid'), width: 1 } };
  plot = new uPlot({
    width: box.clientWidth, height: box.clientHeight,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    focus: { alpha: .25 },
    cursor: { points: { size: 6 }, drag: { setScale: false, x: false, y: false }, focus: { prox: 24 } },
    scales: { x: { time: true, range: () => [answer.times[0], answer.times.at(-1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 30, space: 80, values: (_, ticks) => ticks.map((t) => (new Date(t * 1000).getHours() + new Date(t * 1000).getMinutes() === 0 ? at(t, day) : at(t))) },
      { ...axis, space: 44, values: (_, ticks) => ticks.map((v) => figure(v, unit)),
        size: (u, labels) => { if (!labels) return 50; u.ctx.font = axis.font; return Math.ceil(Math.max(...labels.map((l) => u.ctx.measureText(l).width))) + 16; } },
    ],
    series: [{}, ...answer.series.map((s, i) => ({ label: s.title, stroke: palette[i % 8], width: 1.5, dash: dashOf(i), spanGaps: false, show: !hidden.has(s.key), points: { size: 4 } }))],
    hooks: { setCursor: [(u) => legendValues(u.cursor.idx)] },
  }, table, box);
  $('legend').replaceChildren(...answer.series.map((s, i) => legendItem(s, i, palette[i % 8])));
}
function legendItem(s, i, colour) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  for (const [k, v] of Object.entries({ width: 18, height: 10, 'aria-hidden': true })) svg.setAttribute(k, v);
  for (const [k, v] of Object.entries({ x1: 0, x2: 18, y1: 5, y2: 5, stroke: colour, 'stroke-width': 3, 'stroke-dasharray': i < 8 ? 'none' : '6 3' })) line.setAttribute(k, v);
  svg.append(line);
  const button = el('button', { type: 'button', title: `${s.title}\n${s.labels.device || ''}\n${T.hide_series}` }, svg, el('span', { textContent: s.title }), el('b'));
  button.setAttribute('aria-pressed', String(!hidden.has(s.key)));
  button.addEventListener('click', () => {
    if (!hidden.delete(s.key)) hidden.add(s.key);
    button.setAttribute('aria-pressed', String(!hidden.has(s.key)));
    plot.setSeries(i + 1, { show: !hidden.has(s.key) });
  });
  button.addEventListener('mouseenter', () => plot.setSeries(i + 1, { focus: true }));
  button.addEventListener('mouseleave', () => plot.setSeries(null, { focus: false }));
  return el('li', {}, button);
}
// legendValues shows the values under the cursor, else the last ones.
function legendValues(idx) {
  if (!answer) return;
  const unit = unitNow();
  [...$('legend').children].forEach((li, i) => {
    const v = answer.series[i]?.values;
    li.querySelector('b').textContent = v ? figure(idx == null ? v.findLast((x) => x != null) : v[idx], unit) : '';
  });
  const n = answer.series.length;
  const note = answer.all > n ? say('top_n', { n, all: plain.format(answer.all) }) : '';
  $('plot-note').textContent = idx == null ? note : `${at(answer.times[idx], day)} ${at(answer.times[idx], clockSeconds)}`;
}
new ResizeObserver(() => plot?.setSize({ width: $('plot').clientWidth, height: $('plot').clientHeight })).observe($('plot'));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { shown = ''; drawNow(); sparks.clear(); overviewNow(); });

// Counts and rates.

const sparks = new Map();
function spark(id, points, colour) {
  const box = $(id);
  let u = sparks.get(id);
  if (!u) {
    box.replaceChildren();
    u = new uPlot({
      width: box.clientWidth, height: box.clientHeight, padding: [3, 0, 1, 0], legend: { show: false }, cursor: { show: false },
      axes: [{ show: false }, { show: false }], scales: { y: { range: (_, lo, hi) => [0, Math.max(hi * 1.1, 1e-9)] } },
      series: [{}, { stroke: css(colour), fill: `${css(colour)}22`, width: 1.5, points: { show: false } }],
    }, points, box);
    sparks.set(id, u);
    return;
  }
  if (u.width !== box.clientWidth) u.setSize({ width: box.clientWidth, height: box.clientHeight });
  u.setData(points);
}
async function course(query) {
  const end = Math.floor(Date.now() / 15000) * 15;
  const { result } = await prom('query_range', { query, start: end - 900, end, step: 15 });
  const values = result[0]?.values || [];
  return [values.map(([t]) => t), values.map(([, v]) => Number(v))];
}
async function overview() {
  const s = await get('/api/v1/stats');
  const states = s.devices.presence;
  const total = s.devices.total;
  $('n-all').textContent = plain.format(total);
  for (const state of ['online', 'late', 'offline', 'never']) {
    const n = states[state] || 0;
    $(`n-${state}`).textContent = plain.format(n);
    const part = $('bar').querySelector(`.${state}`);
    part.style.flexGrow = n;
    part.hidden = n === 0;
  }
  $('kinds').textContent = Object.entries(s.devices.kinds).map(([k, states]) => [k, Object.values(states).reduce((a, b) => a + b, 0)]).filter(([, n]) => n > 0).map(([k, n]) => `${plain.format(n)} ${T[k] || k}`).join(' · ') || '\u00a0';
  $('n-samples').textContent = figure(s.samples_per_second);
  $('n-series').textContent = `${plain.format(s.series)} ${T.series_total}`;
  const [samples, rejects] = await Promise.all([course('sum(rate(hub_ingest_samples_total[1m]))'), course('60 * sum(rate(hub_ingest_rejects_total[1m]))')]);
  $('n-rejects').textContent = figure(rejects[1].at(-1) ?? 60 * s.rejects_per_second);
  spark('spark-samples', samples, '--accent');
  spark('spark-rejects', rejects, '--s1');
}

// Rejects.

async function loadRejects() {
  let items;
  try { items = (await get('/api/v1/rejects', { limit: 8 })).items; } catch (e) {
    if (e.status !== 403) throw e;
    $('rejects').replaceChildren(el('li', { className: 'empty', textContent: T.not_allowed }));
    return;
  }
  $('top-reason').textContent = items[0]?.reason || '';
  if (items.length === 0) {
    $('rejects').replaceChildren(el('li', { className: 'empty' }, ...rich(`${T.no_rejects} ${T.no_rejects_hint}`)));
    return;
  }
  await learn(items.map((r) => r.device));
  $('rejects').replaceChildren(...items.map((r) => el('li', {},
    el('div', {}, el('b', { textContent: nameOf(devices.get(r.device)) || r.device, title: r.device }), el('time', { textContent: ago(r.at), dateTime: r.at })),
    el('span', { className: 'tag', textContent: `${r.stage}: ${r.reason}`, title: r.detail || '' }),
    el('p', { title: r.detail || '' }, ...rich(page.reasons[r.reason] || r.detail || '')))));
}

// Devices.

let cursors = [''], following = '';
async function loadDevices() {
  const filter = { q: $('find').value.trim(), kind: $('kind').value, presence: $('state').value };
  const { items, next_cursor: next } = await get('/api/v1/devices', { ...filter, limit: PAGE, cursor: cursors.at(-1) });
  items.forEach(remember);
  following = next || '';
  $('previous').disabled = cursors.length < 2;
  $('next').disabled = !following;
  const filtered = filter.q || filter.kind || filter.presence;
  $('no-devices').hidden = items.length > 0;
  $('no-devices').replaceChildren(filtered ? T.no_devices_match : T.no_devices, ...(filtered ? [] : [el('code', { textContent: 'hub device add my-first --kind sensor --region 220100' })]));
  const focused = document.activeElement?.dataset?.id;
  $('devices').replaceChildren(...items.map(deviceRow));
  if (focused) [...$('devices').querySelectorAll('button')].find((b) => b.dataset.id === focused)?.focus();
}
function deviceRow(d) {
  const state = d.presence?.state || 'never';
  const cell = (content, className = '') => el('td', { className }, content);
  const open = el('button', { type: 'button', title: T.chart_device }, el('b', { textContent: nameOf(d) || d.id }), el('small', { textContent: nameOf(d) ? `${d.id} · ${kindOf(d.kind)}` : kindOf(d.kind) }));
  open.dataset.id = d.id;
  open.addEventListener('click', () => chart(d));
  const place = d.site ? siteOf(d.site) : '';
  return el('tr', {},
    cell(el('span', { className: `state ${state}`, textContent: T[state] || state, title: d.presence?.reason || '' })),
    cell(open), cell(el('span', { textContent: place || regionOf(d.region || ''), title: regionOf(d.region || '') }), 'wide'),
    cell(ago(d.last_seen), 'num'), cell(period(d.period), 'num wide'), cell(d.series == null ? '–' : plain.format(d.series), 'num wide'));
}
// chart shows a device in the chart: the chosen metric if it has that, else its first.
async function chart(d) {
  const own = (await prom('label/__name__/values', { 'match[]': `{device=${quote(d.id)}, __name__!="device_presence"}` }));
  choose({ devices: [d.id], group: '', metric: own.includes(chosen.metric) ? chosen.metric : own[0] || chosen.metric });
  $('group').value = '';
  $('chart').scrollIntoView({ behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  $('chart').focus({ preventScroll: true });
}

// Start.

const drawNow = every(() => ({ 900: 5, 3600: 5, 21600: 15 })[chosen.range] || 30, draw);
const overviewNow = every(5, overview);
every(30, loadMetrics);
every(10, loadRejects);
const devicesNow = every(10, loadDevices);
every(300, async () => { sites = Object.fromEntries((await get('/api/v1/sites', { limit: 1000 })).items.map((s) => [s.id, s])); devicesNow(); });

linkCorrections();
$('group').value = chosen.group;
$('group').addEventListener('change', (e) => choose({ group: e.target.value }));
for (const radio of document.getElementsByName('range')) {
  radio.checked = Number(radio.value) === chosen.range;
  radio.addEventListener('change', () => choose({ range: Number(radio.value) }));
}
const refilter = () => { cursors = ['']; devicesNow(); };
$('find').addEventListener('input', refilter);
$('kind').addEventListener('change', refilter);
$('state').addEventListener('change', refilter);
for (const b of document.querySelectorAll('.states button')) {
  b.addEventListener('click', () => { $('state').value = b.dataset.state; refilter(); $('state').focus(); });
}
$('next').addEventListener('click', () => { if (following) { cursors.push(following); devicesNow(); } });
$('previous').addEventListener('click', () => { if (cursors.length > 1) { cursors.pop(); devicesNow(); } });
})();
