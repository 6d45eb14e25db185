// The table, the overview and the tensors. Whatever comes from the report becomes text of an element, never markup: `make` is the only
// place that makes elements, and it takes the names of tags and attributes from this file.
'use strict';
(() => {
  const ROWS_OF_PAGE = 100, ROWS_OF_PRINT = 5000, TENSORS_AT_ONCE = 200, GROUPS_AT_ONCE = 5, FEW = 24;
  const STATES = ['converted', 'copied', 'planned', 'skipped', 'refused', 'failed'];
  const SEVERITIES = ['note', 'unrecognized', 'dangerous'];
  const byId = (id) => document.getElementById(id);
  const read = (id) => { const element = byId(id); return element && JSON.parse(element.textContent); };

  const { report, meanings } = read('report');
  const meaning = new Map(Object.entries(meanings));

  // ---- making elements ------------------------------------------------------------------------------------------

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === 'class') element.className = value;
      else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
    }
    for (const child of children.flat(9)) {
      if (child instanceof Node) element.append(child);
      else if (child !== null && child !== undefined && child !== '') element.append(document.createTextNode(String(child)));
    }
    return element;
  }
  // A path may be broken behind its slashes.
  const pieces = (text) => text.split(/(?<=\/)/).flatMap((piece, i) => (i ? [make('wbr'), piece] : [piece]));
  const name = (text) => make('bdi', { class: 'name' }, pieces(text));
  const thousands = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
  const count = (n, noun) => thousands(n) + ' ' + noun + (n === 1 ? '' : 's');
  function bytes(n) {
    if (n < 1000) return n + ' B';
    let value = n / 1000, unit = 0;
    const units = ['KB', 'MB', 'GB', 'TB', 'PB'];
    while (value >= 999.5 && unit < 4) { value /= 1000; unit += 1; }
    return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0) + ' ' + units[unit];
  }
  const known = (list, word) => (list.includes(word) ? word : '');
  const severityClass = (severity) => (severity === 'note' ? 'note-severity' : known(SEVERITIES, severity));
  const wide = (label, value) => make('div', { class: 'wide' }, make('dt', {}, label), make('dd', {}, value));
  const fact = (label, value) => make('div', {}, make('dt', {}, label), make('dd', {}, value));

  // ---- what is shown of a file ----------------------------------------------------------------------------------

  const files = report.inputs.map((input, index) => {
    const reasons = input.reasons || [], findings = input.findings || [], also = input.also || [];
    const first = input.outputs[0], worst = Math.max(-1, ...findings.map((finding) => SEVERITIES.indexOf(finding.severity)));
    const outcome = reasons.length && (!first || STATES.indexOf(input.state) > 3) ? reasons[0].message : first ? first.path : '';
    const texts = [input.path, also, input.container, input.sha256, input.state, input.outputs.map((o) => [o.path, o.member, o.sha256]),
      reasons.map((r) => [r.reason, r.message, r.member]), findings.map((f) => [f.kind, f.severity, f.global, f.message])];
    return {
      index, input, reasons, findings, also, worst, outcome, container: input.container || '',
      more: input.outputs.length > 1 && outcome === first.path ? input.outputs.length - 1 : 0,
      tensors: input.outputs.reduce((sum, output) => sum + (output.tensors || 0), 0),
      kinds: new Set(findings.map((f) => f.kind)), words: new Set(reasons.map((r) => r.reason)),
      text: texts.flat(9).filter(Boolean).join('\n').toLowerCase(),
    };
  });

  const collator = new Intl.Collator('en', { numeric: true });
  const COLUMNS = [
    { id: 'state', title: 'State', by: (a, b) => STATES.indexOf(a.input.state) - STATES.indexOf(b.input.state), down: true },
    { id: 'path', title: 'Path', by: (a, b) => collator.compare(a.input.path, b.input.path) },
    { id: 'container', title: 'Container', by: (a, b) => collator.compare(a.container, b.container) },
    { id: 'bytes', title: 'Size', by: (a, b) => a.input.bytes - b.input.bytes, number: true, down: true },
    { id: 'tensors', title: 'Tensors', by: (a, b) => a.tensors - b.tensors, number: true, down: true },
    { id: 'outcome', title: 'Output, or why not', by: (a, b) => collator.compare(a.outcome, b.outcome) },
  ];
  const view = { terms: [], state: '', container: '', kind: '', word: '', sort: COLUMNS[1], down: false, page: 0, open: new Set() };
  let shown = files;

  function choose() {
    const { terms, state, container, kind, word } = view;
    shown = files.filter((file) => (!state || file.input.state === state) && (!container || file.container === container)
      && (!kind || file.kinds.has(kind)) && (!word || file.words.has(word)) && terms.every((term) => file.text.includes(term)));
    shown.sort((a, b) => (view.down ? view.sort.by(b, a) : view.sort.by(a, b)) || a.index - b.index);
  }

  // ---- the table ------------------------------------------------------------------------------------------------

  function row(file) {
    const { input, index } = file, state = known(STATES, input.state), open = view.open.has(index);
    const flag = file.worst > 0 && make('span', { class: 'flag ' + SEVERITIES[file.worst] }, SEVERITIES[file.worst]);
    const opener = make('button', { type: 'button', 'aria-expanded': String(open), id: 'file-' + index }, make('span', {}, name(input.path), flag || null));
    const outcome = file.outcome && file.outcome === (input.outputs[0] || {}).path ? name(file.outcome) : file.outcome;
    const more = file.more ? make('span', { class: 'less' }, ' and ' + count(file.more, 'other')) : null;
    const element = make('tr', { class: 'file' + (open ? ' open' : ''), onclick: (event) => {
      if (String(window.getSelection()) === '' || event.target.closest('button')) toggle(file);
    } },
    make('td', { class: 'c-state' }, make('span', { class: 'state ' + state }, state)),
    make('td', { class: 'c-path' }, opener),
    make('td', { class: 'c-container' }, file.container),
    make('td', { class: 'c-bytes number' }, bytes(input.bytes)),
    make('td', { class: 'c-tensors number' }, file.tensors ? [thousands(file.tensors), make('span', { class: 'unit' }, file.tensors === 1 ? ' tensor' : ' tensors')] : ''),
    make('td', { class: 'c-outcome' + (state === 'skipped' ? ' less' : '') }, outcome, more));
    return open ? [element, make('tr', { class: 'detail' }, make('td', { colspan: COLUMNS.length }, detail(file)))] : [element];
  }

  function toggle(file) {
    if (!view.open.delete(file.index)) view.open.add(file.index);
    draw();
    const opener = byId('file-' + file.index);
    if (opener) opener.focus({ preventScroll: true });
  }

  function draw(all) {
    const pages = Math.max(1, Math.ceil(shown.length / ROWS_OF_PAGE));
    view.page = Math.min(view.page, pages - 1);
    const start = all ? 0 : view.page * ROWS_OF_PAGE, end = Math.min(shown.length, all ? ROWS_OF_PRINT : start + ROWS_OF_PAGE);
    const rows = shown.slice(start, end).flatMap(row);
    if (!rows.length) rows.push(make('tr', { class: 'nothing' }, make('td', { colspan: COLUMNS.length }, 'No file is like this.')));
    byId('rows').replaceChildren(...rows);
    const filters = [view.word && ['reason ', name(view.word)], view.kind && ['finding ', name(view.kind)]].filter(Boolean);
    const some = filters.length || view.terms.length || view.state || view.container;
    const range = shown.length > end - start ? [thousands(start + 1), ' to ', thousands(end), ' of '] : [];
    byId('shown').replaceChildren(...make('p', {}, range, count(shown.length, 'file'), some ? ' of ' + thousands(files.length) : '',
      filters.map((filter) => [', ', filter])).childNodes);
    byId('clear').hidden = !some;
    byId('pages').hidden = pages < 2;
    const turn = (by, label) => make('button', { type: 'button', disabled: view.page + by < 0 || view.page + by >= pages, onclick: () => {
      view.page += by;
      draw();
      byId('files-title').scrollIntoView();
      // Of those that were drawn anew, the same one or, at an end, the other.
      [...byId('pages').querySelectorAll('button:enabled')].at(by < 0 ? 0 : -1).focus({ preventScroll: true });
    } }, label);
    byId('pages').replaceChildren(turn(-1, 'Previous'), make('span', {}, 'page ' + thousands(view.page + 1) + ' of ' + thousands(pages)), turn(1, 'Next'));
    for (const [i, head] of [...byId('head').children].entries()) {
      if (COLUMNS[i] === view.sort) head.setAttribute('aria-sort', view.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
    byId('sort').value = COLUMNS.indexOf(view.sort) + (view.down ? '-' : '+');
    byId('state').value = view.state;
    const pressed = (element, is) => element.setAttribute('aria-pressed', String(is));
    document.querySelectorAll('[data-state] button').forEach((button) => pressed(button, button.parentNode.dataset.state === view.state));
    groups.forEach(({ button, field, key }) => pressed(button, view[field] === key));
  }

  function change(fields) {
    Object.assign(view, fields, { page: 0 });
    choose();
    draw();
  }

  // ---- one file -------------------------------------------------------------------------------------------------

  function detail(file) {
    const { input, reasons, findings, also } = file, parts = [];
    if (reasons.length) {
      parts.push(make('h3', {}, STATES.indexOf(input.state) > 2 ? 'Why it was ' + known(STATES, input.state) : 'What was not converted of it'));
      parts.push(make('ul', { class: 'reasons ' + known(STATES, input.state) }, reasons.map((reason) => make('li', {},
        reason.member ? make('div', {}, name(reason.member)) : null,
        make('span', { class: 'message' }, sentence(reason.message)),
        reason.place ? make('span', { class: 'place' }, 'at ', name(reason.place)) : null,
        reason.help ? make('span', { class: 'place' }, 'help: ' + reason.help) : null,
        make('span', { class: 'place' }, 'reason ', name(reason.reason))))));
    }
    if (findings.length) parts.push(make('h3', {}, 'Findings'), found(file));
    if (input.outputs.length) {
      parts.push(make('h3', {}, input.outputs.length > 1 ? count(input.outputs.length, 'output') : 'Output'));
      parts.push(listInSteps(input.outputs.map((output, j) => () => outputOf(file, output, j)), 10, (items) => make('div', {}, items)));
    }
    parts.push(make('h3', {}, 'The file'), make('dl', { class: 'facts' },
      fact('container', file.container || 'not known'), fact('size', thousands(input.bytes) + ' bytes'),
      input.modified ? fact('changed last', new Date(input.modified / 1e6).toISOString().replace('T', ' ').slice(0, 19) + ' UTC') : null,
      input.sha256 ? wide('SHA-256', name(input.sha256)) : null,
      also.length ? wide('also called', also.map((other) => make('div', {}, name(other)))) : null));
    return parts;
  }
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?)"']$/.test(text) ? '' : '.');

  function found(file) {
    const kinds = new Map();
    for (const finding of [...file.findings].sort((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity))) {
      kinds.set(finding.kind, (kinds.get(finding.kind) || []).concat(finding));
    }
    const list = [...kinds].map(([kind, all]) => make('li', { class: severityClass(all[0].severity) },
      make('span', { class: 'severity' }, all[0].severity), ' ', name(kind), make('span', { class: 'place' }, meaning.get(kind) || ''),
      listInSteps(all.map((finding) => () => make('li', {},
        make('span', { class: 'message' }, sentence(finding.message)),
        finding.arguments ? make('span', { class: 'place' }, 'called with ', make('bdi', { class: 'name' }, '(' + finding.arguments + ')')) : null,
        make('span', { class: 'place' }, 'at ', name((finding.member ? finding.member + '+' : 'offset ') + '0x' + finding.offset.toString(16))))),
      5, (items) => make('ul', {}, items))));
    const more = file.input.more_findings;
    return make('ul', { class: 'findings' }, list, more ? make('li', {}, 'and ' + count(more, 'more finding') + ', in the manifests') : null);
  }

  // The first of a list, and a button for the next.
  function listInSteps(makers, step, wrap) {
    const list = wrap(makers.slice(0, step).map((maker) => maker()));
    let n = Math.min(step, makers.length);
    if (n === makers.length) return list;
    const more = make('button', { type: 'button', class: 'more' });
    const label = () => { more.textContent = 'Show ' + thousands(Math.min(step, makers.length - n)) + ' more of ' + thousands(makers.length - n); };
    more.addEventListener('click', (event) => {
      event.stopPropagation();
      list.append(...makers.slice(n, n + step).map((maker) => maker()));
      n = Math.min(n + step, makers.length);
      if (n === makers.length) more.remove(); else label();
    });
    label();
    return make('div', {}, list, more);
  }

  function outputOf(file, output, j) {
    const notes = [
      output.root && ['taken from ', name(output.root)],
      output.outside && count(output.outside, 'tensor') + ' outside of it (' + bytes(output.outside_bytes || 0) + ') not taken',
      output.left_out && count(output.left_out, 'tensor') + ' left out',
      output.tied && count(output.tied, 'name') + ' tied to another and written once',
      output.lowered && count(output.lowered, 'tensor') + ' written as others',
    ].filter(Boolean);
    return make('div', { class: 'output' },
      make('div', {}, name(output.path)),
      make('div', { class: 'less' }, output.manifest ? count(output.tensors || 0, 'tensor') + ', ' : '', bytes(output.bytes),
        output.member ? [', from the member ', name(output.member)] : '', notes.map((note) => [', ', note])),
      make('dl', { class: 'facts' }, output.sha256 ? wide('SHA-256', name(output.sha256)) : null,
        output.manifest ? wide('manifest', name(output.manifest)) : null),
      output.tensors && output.manifest ? browser(file, output, j) : null);
  }

  // ---- tensors --------------------------------------------------------------------------------------------------

  function browser(file, output, j) {
    const say = (text) => make('p', { class: 'note' }, text);
    const block = read('tensors-' + file.index + '-' + j);
    if (!block) return say('Its tensors are listed in its manifest only: this page has no room for more.');
    if (block.problem) return say('Its tensors cannot be listed: ' + block.problem);
    if (block.same_as !== undefined) return say('It is the same file as ' + file.input.outputs[block.same_as].path + ', whose tensors are listed there.');
    const tensors = block.tensors, more = output.tensors - tensors.length;
    const said = make('span', { class: 'said', role: 'status' }), list = make('div', { class: 'tree' });
    const search = make('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: 'name, dtype, shape, digest ...' });
    const show = () => {
      const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = terms.length ? tensors.filter((t) => terms.every((term) => t.slice(0, 2).concat(shape(t[2]), t[4] || '').join('\n').toLowerCase().includes(term))) : tensors;
      said.textContent = (terms.length ? thousands(chosen.length) + ' of ' : '') + count(tensors.length, 'tensor')
        + (more > 0 ? ' here, ' + thousands(more) + ' more only in the manifest' : '');
      const heads = make('div', { class: 'tensor heads' }, ['name', 'dtype', 'shape'].map((head) => make('span', {}, head)),
        make('span', { class: 'size' }, 'size'), make('span', {}, 'SHA-256'));
      list.replaceChildren(heads, terms.length || tensors.length <= FEW ? flat(chosen, 0) : branch(fold(tensors, 0)));
    };
    search.addEventListener('input', later(show));
    search.addEventListener('keydown', (event) => event.stopPropagation());
    show();
    const finder = make('label', {}, 'Tensors', search);
    return make('div', { onclick: (event) => event.stopPropagation() }, make('div', { class: 'finder' }, output.tensors > FEW ? finder : null, said), list);
  }

  const shape = (sizes) => '[' + sizes.join(', ') + ']';
  const flat = (tensors, cut) => listInSteps(tensors.map((tensor) => () => leaf(tensor, cut)), TENSORS_AT_ONCE, (items) => make('ul', {}, items));
  function leaf(tensor, cut) {
    const [full, dtype, sizes, size, sha256] = tensor;
    return make('li', { class: 'tensor' }, make('bdi', { class: 'name', title: full }, full.slice(cut)),
      make('span', { class: 'mono' }, dtype), make('span', { class: 'mono' }, shape(sizes)), make('span', { class: 'size' }, bytes(size)),
      sha256 ? make('span', { class: 'mono digest', tabindex: '0' }, sha256) : make('span', { class: 'digest' }, 'not recorded'));
  }

  // Tensors by the first part of the rest of their names: groups of several, and those that are alone.
  function fold(tensors, cut) {
    const parts = new Map();
    for (const tensor of tensors) {
      const dot = tensor[0].indexOf('.', cut), part = dot < 0 ? tensor[0].slice(cut) : tensor[0].slice(cut, dot + 1);
      if (!parts.has(part)) parts.set(part, []);
      parts.get(part).push(tensor);
    }
    return { cut, parts };
  }
  function branch({ cut, parts }) {
    return listInSteps([...parts].sort(([a], [b]) => collator.compare(a, b)).map(([part, tensors]) => () => {
      if (tensors.length === 1) return leaf(tensors[0], cut);
      // What all of them go on with is one step.
      let label = part, below = fold(tensors, cut + part.length);
      while (below.parts.size === 1 && [...below.parts.keys()][0].endsWith('.')) {
        const next = [...below.parts.keys()][0];
        label += next;
        below = fold(tensors, below.cut + next.length);
      }
      const size = tensors.reduce((sum, tensor) => sum + tensor[3], 0);
      const group = make('details', { open: parts.size === 1 }, make('summary', {}, make('bdi', { class: 'name' }, label),
        make('span', { class: 'less' }, count(tensors.length, 'tensor') + ', ' + bytes(size))));
      if (group.open) group.append(branch(below));
      group.addEventListener('toggle', () => { if (group.open && group.children.length === 1) group.append(branch(below)); });
      return make('li', {}, group);
    }), TENSORS_AT_ONCE, (items) => make('ul', {}, items));
  }

  function later(work) {
    let timer = 0;
    return () => { clearTimeout(timer); timer = setTimeout(work, 90); };
  }

  // ---- the overview ---------------------------------------------------------------------------------------------

  const groups = [];
  function group(title, field, entries) {
    if (!entries.length) return null;
    const items = entries.map(({ key, n, what, of }) => () => {
      const button = make('button', { type: 'button', class: of, 'aria-pressed': 'false', onclick: () => {
        change({ kind: '', word: '', [field]: view[field] === key ? '' : key });
        byId('files-title').scrollIntoView({ block: 'nearest' });
      } }, make('span', { class: 'n' }, thousands(n)), make('span', {}, make('bdi', { class: 'word' }, key), make('span', { class: 'what' }, what)));
      groups.push({ button, field, key });
      return make('li', {}, button);
    });
    return make('section', {}, make('h2', {}, title), listInSteps(items, GROUPS_AT_ONCE, (list) => make('ul', { class: 'groups' }, list)));
  }
  function overview() {
    const words = new Map(), kinds = new Map();
    const add = (map, key, make) => { if (!map.has(key)) map.set(key, { key, n: 0, ...make() }); const entry = map.get(key); entry.n += 1; return entry; };
    for (const file of files) {
      const bad = STATES.indexOf(file.input.state) > 3 ? file.input.state : '';
      if (bad) file.words.forEach((word) => {
        const reason = file.reasons.find((r) => r.reason === word);
        const entry = add(words, word, () => ({ what: sentence(reason.message), of: known(STATES, bad) }));
        if (entry.n === 2) entry.what = 'For example: ' + entry.what.charAt(0).toLowerCase() + entry.what.slice(1);
      });
      file.kinds.forEach((kind) => {
        const severity = Math.max(...file.findings.filter((f) => f.kind === kind).map((f) => SEVERITIES.indexOf(f.severity)));
        const entry = add(kinds, kind, () => ({ what: meaning.get(kind) || '', severity }));
        entry.severity = Math.max(entry.severity, severity);
        entry.of = severityClass(SEVERITIES[entry.severity]);
      });
    }
    const sections = [
      group('Why files were not converted', 'word', [...words.values()].sort((a, b) => b.n - a.n)),
      group('What was found in files', 'kind', [...kinds.values()].sort((a, b) => b.severity - a.severity || b.n - a.n)),
    ].filter(Boolean);
    byId('overview').replaceChildren(...sections);
    byId('overview').hidden = !sections.length;
  }

  // ---- the start ------------------------------------------------------------------------------------------------

  const option = (value, label) => make('option', { value }, label);
  for (const item of document.querySelectorAll('[data-state]')) {
    const { state, n } = item.dataset;
    byId('bar').append(make('i', { class: state }));
    byId('bar').lastChild.style.flexGrow = n;
    const button = make('button', { type: 'button', 'aria-pressed': 'false', onclick: () => change({ state: view.state === state ? '' : state }) });
    button.append(...item.childNodes);
    item.append(button);
  }
  byId('head').append(...COLUMNS.map((column) => make('th', { class: 'c-' + column.id + (column.number ? ' number' : ''), scope: 'col' },
    make('button', { type: 'button', onclick: () => change({ sort: column, down: view.sort === column ? !view.down : !!column.down }) }, column.title))));
  byId('sort').append(...COLUMNS.flatMap((column, i) => [option(i + '+', column.title), option(i + '-', column.title + ', reversed')]));
  byId('state').append(option('', 'all'), ...STATES.filter((state) => report.totals[state]).map((state) => option(state, state)));
  byId('container').append(option('', 'all'), ...[...new Set(files.map((file) => file.container))].filter(Boolean).sort().map((word) => option(word, word)));
  byId('search').addEventListener('input', later(() => change({ terms: byId('search').value.toLowerCase().split(/\s+/).filter(Boolean) })));
  byId('state').addEventListener('change', (event) => change({ state: event.target.value }));
  byId('container').addEventListener('change', (event) => change({ container: event.target.value }));
  byId('sort').addEventListener('change', (event) => change({ sort: COLUMNS[parseInt(event.target.value, 10)], down: event.target.value.endsWith('-') }));
  byId('controls').addEventListener('submit', (event) => event.preventDefault());
  byId('clear').addEventListener('click', () => {
    byId('search').value = '';
    byId('container').value = '';
    change({ terms: [], state: '', container: '', kind: '', word: '' });
    byId('search').focus();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select')) return;
    event.preventDefault();
    byId('search').focus();
  });
  window.addEventListener('beforeprint', () => draw(true));
  window.addEventListener('afterprint', () => draw());

  const listing = read('listing'), notes = [];
  if (listing.only_in_manifests) notes.push(count(listing.listed, 'tensor') + ' listed here, ' + thousands(listing.only_in_manifests) + ' more only in the manifests.');
  if (listing.unreadable) notes.push(count(listing.unreadable, 'manifest') + ' could not be read.');
  byId('listing-note').textContent = notes.join(' ');
  byId('listing-note').hidden = !notes.length;
  overview();
  byId('files').hidden = false;
  change({});
})();
