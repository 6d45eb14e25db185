// The page of a hostile report in a real browser; README.md tells how to run it.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const { chromium } = createRequire(import.meta.url)('playwright-core');
const depickle = process.env.DEPICKLE || 'target/debug/depickle';

const NAMES = [
  '</script><script>window.hit=1</script>', '</SCRIPT ><script>window.hit=1</script>', '<!--<script>', '--><script>window.hit=1</script>',
  '<img src=x onerror=window.hit=1>', '<svg/onload=window.hit=1>', '<iframe src=https://example.org/>', '</title></noscript></style><b>bold</b>',
  '" onfocus="window.hit=1" autofocus x="', "' onclick='window.hit=1' '", '${window.hit=1}', '`${window.hit=1}`', '{{constructor.constructor("window.hit=1")()}}',
  'javascript:window.hit=1', 'https://example.org/beacon.png', 'url(https://example.org/x)', '@import "https://example.org/x.css"',
  '__proto__', 'constructor', 'toString', 'hasOwnProperty', '&lt;img src=x onerror=window.hit=1&gt;', '&#60;b&#62;', ']]><x/>',
  'a\u2028b\u2029c\nd\re\tf\u0000g\u001b[31m', '\u202egpj.elif\u202c\u2066x\u2069', '\ufeff\u200b\u200f\u00ad', '"\\"\\\\', '@@data@@', '\ud83d\ude00 größe 模型', 'x'.repeat(3000), '../../../etc/passwd',
];
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u;

const folder = mkdtempSync(join(tmpdir(), 'depickle-browser-'));
const inputs = NAMES.map((name, i) => ({
  path: name, also: [name], bytes: i, modified: 1, state: ['converted', 'refused', 'failed', 'skipped'][i % 4], sha256: name, container: name,
  outputs: [{ path: name, bytes: 8, sha256: 'ab', manifest: `${i}.manifest.json`, member: name, tensors: NAMES.length, tensor_bytes: 8, root: name, outside: 1, left_out: 1, tied: 1, lowered: 1 },
    { path: name, bytes: 9, sha256: name, manifest: name, member: name, tensors: 3 }],
  reasons: [{ member: name, reason: name, message: name, place: name, help: name }],
  findings: [{ kind: name, severity: ['note', 'unrecognized', 'dangerous', name][i % 4], global: name, member: name, offset: 1, message: name, arguments: name }],
  more_findings: 2,
})).sort((a, b) => (a.path < b.path ? -1 : 1));
const totals = { inputs: inputs.length, copied: 0, outputs: 0, tensors: 0, input_bytes: 0, converted_bytes: 0, output_bytes: 0 };
for (const state of ['converted', 'refused', 'failed', 'skipped']) totals[state] = inputs.filter((row) => row.state === state).length;
for (const row of inputs) {
  totals.input_bytes += row.bytes;
  if (row.state === 'converted') totals.converted_bytes += row.bytes;
  for (const output of row.outputs) { totals.outputs += 1; totals.tensors += output.tensors; totals.output_bytes += output.bytes; }
}
const hostile = NAMES[0];
writeFileSync(join(folder, 'report.json'), JSON.stringify({ report_version: 1, tool: { name: hostile, version: hostile }, store: hostile, options: { [hostile]: hostile, __proto__x: 1 }, part: hostile, totals, inputs }));
const from = { path: '', member: '', offset: 0, storage: '', storage_offset: 0, strides: [], dtype: '' };
const tensors = NAMES.map((name) => ({ name: `${name}.${name}`, dtype: name, shape: [1, 2], data_offsets: [0, 8], sha256: name, from }));
NAMES.forEach((_, i) => writeFileSync(join(folder, `${i}.manifest.json`), JSON.stringify({ manifest_version: 1, outputs: [{ path: 'x', bytes: 8, header_bytes: 0, sha256: 'ab' }], tensors })));
execFileSync(depickle, ['report', 'html', join(folder, 'report.json'), '-o', join(folder, 'page.html')], { stdio: ['ignore', 'ignore', 'inherit'] });

const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
let checks = 0;
for (const javaScriptEnabled of [true, false]) {
  const context = await browser.newContext({ javaScriptEnabled });
  const page = await context.newPage();
  const requests = [], sent = [], errors = [];
  await context.route('**/*', (route) => { sent.push(route.request().url()); return route.request().url().startsWith('file:') ? route.continue() : route.abort(); });
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => errors.push(message.text()));
  page.on('dialog', (dialog) => { errors.push(`a dialog: ${dialog.message()}`); return dialog.dismiss(); });
  page.on('popup', () => errors.push('a window'));
  const address = `file://${join(folder, 'page.html')}`;
  await page.goto(address);
  const look = async (what) => {
    checks += 1;
    const found = await page.evaluate(() => {
      const allowed = 'a bdi body button dd details div dl dt footer form h1 h2 h3 head header html i input label b li main meta nav noscript option p script section select span style summary table tbody td th thead title tr ul wbr'.split(' ');
      const all = [...document.querySelectorAll('*')];
      return {
        hit: window.hit,
        odd: all.filter((e) => !allowed.includes(e.localName)).map((e) => e.outerHTML.slice(0, 200)),
        running: all.filter((e) => e.localName === 'script' && e.type !== 'application/json').length,
        handlers: all.flatMap((e) => [...e.attributes].filter((a) => /^(on|src|href|style$|srcdoc|action)/i.test(a.name) && e.parentNode.id !== 'bar').map((a) => `${e.localName} ${a.name}`)),
        text: document.body.innerText + document.title + [...document.querySelectorAll('[title]')].map((e) => e.title).join(''),
        polluted: Object.keys(Object.prototype).length,
      };
    });
    assert.equal(found.hit, undefined, `${what}: a script ran`);
    assert.deepEqual(found.odd, [], `${what}: elements appeared`);
    assert.equal(found.running, 1, `${what}: scripts`);
    assert.deepEqual(found.handlers, [], `${what}: attributes`);
    assert.equal(found.polluted, 0);
    assert(!INVISIBLE.test(found.text.replace(/[\n\t]/g, '')), `${what}: invisible characters`);
    return found.text;
  };
  const text = await look('the page');
  for (const name of NAMES.slice(0, 12)) assert(text.includes(name) || !javaScriptEnabled, `${name} is shown as it is`);
  if (javaScriptEnabled) {
    for (const more of await page.locator('.more').all()) await more.click();
    for (let i = 0; i < inputs.length; i += 1) await page.evaluate((n) => document.getElementById(`file-${n}`).click(), i);
    await look('every file open');
    await page.evaluate(() => document.querySelectorAll('.more').forEach((more) => more.click()));
    for (let round = 0; round < 4; round += 1) {
      await page.evaluate(() => document.querySelectorAll('details:not([open])').forEach((group) => { group.open = true; }));
      await page.waitForTimeout(200);
    }
    const shown = await look('every tensor shown');
    for (const name of ['</script><script>window.hit=1</script>.', '\\u{202e}gpj.', 'https://example.org/beacon.png']) assert(shown.includes(name), `${name} among the tensors`);
    for (const query of ['<img', '__proto__', 'constructor', '${', '\\u{202e}', '</script>']) {
      await page.fill('#search', query);
      await page.waitForTimeout(150);
      await look(`a search for ${query}`);
    }
    await page.click('#clear');
    for (const option of await page.locator('#container option').all()) await page.selectOption('#container', await option.getAttribute('value'));
    await look('every container chosen');
    await page.click('#clear');
    for (const head of await page.locator('#head button').all()) { await head.click(); await head.click(); }
    await page.evaluate(() => document.querySelectorAll('.groups button').forEach((button) => button.click()));
    await look('every group chosen');
    await page.mouse.move(300, 300);
    await page.pdf({ path: join(folder, 'page.pdf') });
    await look('printed');
  }
  assert.deepEqual([...new Set(requests)], [address], 'nothing else was requested');
  assert.deepEqual(errors, []);
  // The page forbids what it does not need, whatever got into it.
  if (javaScriptEnabled) {
    const stopped = await page.evaluate(async () => {
      const script = document.createElement('script');
      script.textContent = 'window.hit = 2';
      document.body.append(script);
      const image = new Promise((done) => { const i = new Image(); i.onload = () => done('loaded'); i.onerror = () => done('stopped'); i.src = 'https://example.org/x.png'; });
      const request = fetch('https://example.org/').then(() => 'answered', () => 'stopped');
      return [window.hit, await image, await request];
    });
    assert.deepEqual(stopped, [undefined, 'stopped', 'stopped'], 'the policy of the page');
    assert.deepEqual(sent, [address], 'the policy stopped them before they left');
  }
  await context.close();
}
await browser.close();
rmSync(folder, { recursive: true });
process.stdout.write(`${checks} looks at a page with ${NAMES.length} hostile names everywhere: nothing ran, nothing was requested, nothing appeared\n`);
