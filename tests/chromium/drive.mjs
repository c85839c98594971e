// Drives a real Chromium through the browser side: every page is seen, a screenshot of each is kept. Comes in, as JSON in
// the first argument: where the sites are and where screenshots go. What only the test can do it asks for with a line on
// stdout ("ask: …") and waits for a line on stdin. Goes out: a line for each thing that held; exit code 1 at the first
// that did not.
import { chromium } from 'playwright-core';
import { createInterface } from 'node:readline';
import assert from 'node:assert/strict';

const { site, choice, fronts, executable, shots } = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (what) => { console.log(`ask: ${what}`); await lines.next(); };
const held = (what) => console.log(`held: ${what}`);

const browser = await chromium.launch({
  executablePath: executable,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.test 127.0.0.1, EXCLUDE localhost'],
});

const complaints = [];
async function profile(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(15_000);
  context.on('console', (message) => {
    // A refused request is told as an error too; those are wanted here.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text());
  });
  return context;
}
const shot = (page, name) => page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
async function signIn(page, name = 'alice', password = 'wonderland') {
  await page.fill('#username', name);
  await page.fill('#password', password);
  await page.click('button:has-text("Sign in")');
}
const heading = (page) => page.textContent('h1');
const session = async (context) => (await context.cookies(site)).find((cookie) => cookie.name === '__Host-postern-shop');

try {
  const alice = await profile();
  const first = await alice.newPage();

  await first.goto(`${site}/orders?page=2`);
  assert.match(first.url(), /\/authorize\?/);
  await signIn(first);
  await first.waitForURL(`${site}/orders?page=2`);
  assert.equal(await heading(first), 'The app');
  const cookie = await session(alice);
  assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], [true, true, 'Lax', '/']);
  assert.equal((await alice.cookies(site)).filter((one) => one.name.startsWith('__Host-postern')).length, 1);
  await shot(first, 'signed-in');
  held('a person signs in and comes back to the deep link');

  const statuses = await first.evaluate(async () => {
    const all = [];
    for (let turn = 0; turn < 30; turn += 1) {
      all.push((await fetch('/poll', { redirect: 'manual' })).status);
      await new Promise((later) => setTimeout(later, 100));
    }
    return all;
  });
  assert.ok(statuses.every((status) => status === 200), `${statuses}`);
  await ask('renewed');
  held('tokens are renewed while a page polls, and nobody notices');

  const two = await profile();
  const [left, right] = [await two.newPage(), await two.newPage()];
  await left.goto(`${site}/left`);
  await right.goto(`${site}/right`);
  await signIn(left);
  await left.waitForURL(`${site}/left`);
  await signIn(right);
  await right.waitForURL(`${site}/right`);
  held('two tabs sign in at once');

  const api = await (await profile()).newPage();
  await api.route('https://shop.test:*/blank', (route) => route.fulfill({ contentType: 'text/html', body: '<p>blank' }));
  await api.goto(`${site}/blank`);
  const refused = await api.evaluate(async () => {
    const answer = await fetch('/orders');
    return { status: answer.status, redirected: answer.redirected, body: await answer.json() };
  });
  assert.deepEqual([refused.status, refused.redirected], [401, false]);
  assert.ok(refused.body.login_url.includes('/oauth2/start'), JSON.stringify(refused.body));
  held('a script without a session is told where to sign in');

  await first.goto(`${site}/oauth2/callback?code=x&state=y`);
  assert.equal(await heading(first), 'That did not work');
  await shot(first, 'failed');
  await first.click('text=Start again');
  await first.waitForURL(`${site}/`);
  held('an answer that nobody asked for gives a page, and a way on');

  const evil = await alice.newPage();
  const lure = `<a href="${site}/oauth2/sign_out">free</a><form method="post" action="${site}/oauth2/sign_out"><button>win</button></form>`;
  await evil.route('https://evil.test/**', (route) => route.fulfill({ contentType: 'text/html', body: lure }));
  for (const bait of ['a', 'button']) {
    await evil.goto('https://evil.test/');
    await evil.click(bait);
    await evil.waitForURL(`${site}/oauth2/sign_out`);
    assert.equal(await heading(evil), 'Sign out?');
    await first.goto(`${site}/cart`);
    assert.equal(await heading(first), 'The app', 'still signed in');
  }
  await shot(evil, 'confirm');
  held('a foreign page signs nobody out');
  await evil.click('button:has-text("Sign out")');
  await evil.waitForURL(/\/oauth2\/signed_out/);
  assert.equal(await heading(evil), 'Signed out');
  assert.equal(await session(alice), undefined);
  await shot(evil, 'signed-out');
  await first.goto(`${site}/cart`);
  assert.match(first.url(), /\/authorize\?/, 'the password is asked for again');
  held('signing out signs out here and at the provider');

  await signIn(first);
  await first.waitForURL(`${site}/cart`);
  await ask('backchannel');
  assert.equal(await first.evaluate(async () => (await fetch('/poll')).status), 401);
  held('the provider ends the session while the page is open');

  // The page is still there; its form meets no session.
  await first.evaluate(() => {
    document.body.innerHTML = '<form method="post" action="/orders"><input name="item" value="7"><button>Order</button></form>';
  });
  await first.click('button');
  // Still signed in at the provider, the person notices nothing.
  await first.waitForSelector('text=POST /orders');
  assert.equal(first.url(), `${site}/orders`);
  held('a form that met an expired session survives the sign-in');

  await ask('backchannel');
  await first.evaluate(() => {
    document.body.innerHTML = '<form method="post" action="/orders" enctype="multipart/form-data"><input name="item"><button>Order</button></form>';
  });
  await first.click('button');
  await first.waitForURL(/\/oauth2\/callback/);
  assert.equal(await heading(first), 'Session expired');
  assert.match(await first.textContent('[role=alert]'), /was not sent/);
  await shot(first, 'expired');
  await first.click('text=Go on without it');
  await first.waitForURL(`${site}/orders`);
  assert.match(await first.textContent('p'), /GET \/orders/);
  held('of a form that can not be kept the person is told');

  const tampered = await profile();
  const page = await tampered.newPage();
  await page.goto(`${site}/orders`);
  await signIn(page);
  await page.waitForURL(`${site}/orders`);
  const good = await session(tampered);
  for (const value of ['', '99999999', `${good.value.slice(0, -4)}AAAA`, 'x'.repeat(3000)]) {
    await tampered.addCookies([{ ...good, value }]);
    const answer = await page.evaluate(async () => (await fetch('/poll')).status);
    assert.equal(answer, 401, value.slice(0, 20));
  }
  held('a tampered cookie is no session');

  for (const colorScheme of ['light', 'dark']) {
    const chooser = await (await profile({ colorScheme })).newPage();
    await chooser.goto(`${choice}/orders`);
    assert.equal(await heading(chooser), 'Sign in');
    await shot(chooser, `choice-${colorScheme}`);
    await chooser.keyboard.press('Tab');
    await chooser.keyboard.press('Tab');
    assert.match(await chooser.evaluate(() => document.activeElement.textContent), /partner/);
    await chooser.keyboard.press('Enter');
    await chooser.waitForURL(/\/authorize\?/);
    await signIn(chooser, 'bob', 'builder');
    await chooser.waitForURL(`${choice}/orders`);
    await chooser.goto(`${choice}/oauth2/sign_in`);
    assert.match(await chooser.textContent('li:first-child'), /partner.*last time/);
  }
  held('of several providers one is chosen, with the keyboard, in light and dark');

  const hybrid = await profile();
  const front = await hybrid.newPage();
  const visited = [];
  front.on('framenavigated', (frame) => visited.push(frame.url()));
  for (const [name, what] of [
    ['fragment', 'a page of the site takes the answer out of the fragment'],
    ['posted', 'the provider posts its answer across sites'],
    ['loopback', 'and on loopback without TLS'],
  ]) {
    await front.goto(`${fronts[name]}/orders?page=2`);
    // The provider knows who it is after the first site.
    if (/\/authorize\?/.test(front.url())) await signIn(front);
    await front.waitForURL(`${fronts[name]}/orders?page=2`);
    assert.equal(await heading(front), 'The app');
    const ours = (await hybrid.cookies(fronts[name])).filter((one) => one.name.includes(`postern-${name}`));
    assert.equal(ours.length, 1, 'of the attempt nothing is left');
    if (name === 'fragment') {
      assert.ok(visited.some((url) => url.includes('#') && url.includes('id_token=')), 'it came by the fragment');
      // Back in the history: whatever is there, tokens are not.
      await front.goBack();
      assert.ok(!front.url().includes('id_token'), front.url());
    }
    held(what);
  }
  const still = await (await profile({ javaScriptEnabled: false })).newPage();
  await still.goto(`${fronts.fragment}/oauth2/callback#state=x&code=y`);
  assert.match(await still.textContent('[role=alert]'), /no script/);
  await shot(still, 'fragment-no-script');

  assert.deepEqual(complaints, [], 'the browser complains of nothing');
  held('no page breaks its own policy');
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
