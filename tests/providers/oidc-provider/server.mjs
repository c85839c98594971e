// An identity provider for the interoperability tests: npm `oidc-provider`, set up by what a test sends.
//
// Comes in: one line of JSON on stdin, see `settings` below. Goes out: one line of JSON on stdout, `{"issuer": …}`, when
// it serves. Later lines say where origins are that only tests know, `{"knows": {"https://shop.test": "127.0.0.1:8080"}}`, for
// logouts by the back channel. It ends when stdin does, so that none outlives its test. Its state is in memory. `GET /asked` says how often
// each path was asked for.

import { createServer as createHttp, request as requestHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { createInterface } from 'node:readline';

import { exportJWK, generateKeyPair } from 'jose';
import Provider, { errors } from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const [line] = await new Promise((resolve) => lines.once('line', (text) => resolve([text])));
lines.on('close', () => process.exit(0));

const known = {};
lines.on('line', (text) => Object.assign(known, JSON.parse(text).knows));

// Its own guard keeps it from calling loopback addresses, which is where the gateway listens for logouts.
function call(url, { dispatcher, ...options }) {
  const target = new URL(url);
  const address = known[target.origin];
  if (!address) return fetch(url, options);
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const { method, headers } = new Request(url, options);
    const fields = { ...Object.fromEntries(headers), host: target.host };
    const asked = requestHttp({ host, port, method, path: target.pathname, headers: fields }, (answer) => {
      answer.resume();
      resolve(new Response(null, { status: answer.statusCode }));
    });
    asked.on('error', reject);
    asked.end(options.body ? String(options.body) : undefined);
  });
}

const settings = {
  host: '127.0.0.1', // what the issuer is called; it listens on 127.0.0.1 whatever that is
  tls: null, // { key, cert, ca }: PEM; null is http; with it clients may show certificates
  clients: [], // client metadata as OpenID Connect Dynamic Registration names it
  scopes: ['read', 'write'], // besides those of OpenID Connect
  accounts: {}, // claims by subject; any other name may sign in too
  ttl: {}, // seconds by kind: AccessToken, ClientCredentials, RefreshToken, IdToken, Session, …
  resources: {}, // resource servers by indicator: { scope, audience, accessTokenFormat, … }
  defaultResource: undefined, // the indicator that is meant when none is named; without one tokens are opaque
  features: {}, // laid over the features below
  pkceRequired: false,
  rotateRefreshToken: true,
  extraTokenClaims: null, // laid into every access token: shown by introspection, and inside JWTs
  ...JSON.parse(line),
};

const RESPONSE_TYPES = ['code', 'id_token', 'id_token token', 'code id_token', 'code token', 'code id_token token'];
const PASSWORD = 'password';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

async function key(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: alg };
}

function account(sub) {
  const known = settings.accounts[sub] ?? {};
  const claims = { name: sub, email: `${sub}@example.test`, email_verified: true, groups: [], ...known, sub };
  return { accountId: sub, claims: () => claims };
}

const configuration = {
  clients: settings.clients,
  jwks: { keys: [await key('RS256'), await key('ES256'), await key('EdDSA')] },
  scopes: ['openid', 'offline_access', ...settings.scopes],
  claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // the claims of a scope are in the ID token, not at userinfo alone
  responseTypes: RESPONSE_TYPES,
  clientAuthMethods: [
    'none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    ...(settings.tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  findAccount: (_, sub) => account(sub),
  cookies: { keys: ['of this process alone'] },
  pkce: { required: () => settings.pkceRequired },
  rotateRefreshToken: settings.rotateRefreshToken,
  issueRefreshToken: (_, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  extraTokenClaims: () => settings.extraTokenClaims ?? undefined,
  ttl: settings.ttl,
  fetch: call,
  enabledJWA: {
    introspectionSigningAlgValues: ['RS256', 'ES256', 'EdDSA'],
    clientAuthSigningAlgValues: ['HS256', 'RS256', 'ES256', 'EdDSA'],
    requestObjectSigningAlgValues: ['RS256', 'ES256', 'EdDSA'],
    idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'],
    userinfoSigningAlgValues: ['RS256', 'ES256', 'EdDSA'],
  },
  features: {
    devInteractions: { enabled: true }, // any name and password, then one consent
    introspection: { enabled: true },
    jwtIntrospection: { enabled: true },
    jwtResponseModes: { enabled: true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: Boolean(settings.tls),
      selfSignedTlsClientAuth: Boolean(settings.tls),
      tlsClientAuth: Boolean(settings.tls),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && ctx.socket.getPeerX509Certificate().subject === expected,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
    },
    backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => settings.defaultResource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, indicator) => {
        const found = settings.resources[indicator];
        if (!found) throw new errors.InvalidTarget();
        return found;
      },
    },
    ...settings.features,
  },
};

// What the provider leaves to its users: the two grants that it does not come with. Both give opaque tokens.
function registerGrants(provider) {
  const issue = async (ctx, accountId, gty) => {
    const { client, params } = ctx.oidc;
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addOIDCScope(params.scope ?? '');
    const grantId = await grant.save();
    const token = new provider.AccessToken({ accountId, client, grantId, gty, scope: params.scope });
    ctx.oidc.entity('AccessToken', token);
    const body = { access_token: await token.save(), expires_in: token.expiration, token_type: token.tokenType };
    ctx.body = { ...body, scope: token.scope };
    return { grantId };
  };
  provider.registerGrantType(PASSWORD, async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.password !== 'let me in') throw new errors.InvalidGrant('wrong name or password');
    const { grantId } = await issue(ctx, params.username, PASSWORD);
    if (client.grantTypeAllowed('refresh_token')) {
      const { scope, username: accountId } = params;
      const refresh = new provider.RefreshToken({ accountId, client, grantId, gty: PASSWORD, scope, rotations: 0 });
      ctx.body.refresh_token = await refresh.save();
    }
  }, ['username', 'password', 'scope']);
  provider.registerGrantType(EXCHANGE, async (ctx) => {
    const subject = await provider.AccessToken.find(ctx.oidc.params.subject_token);
    if (!subject?.isValid) throw new errors.InvalidGrant('the subject token is not valid');
    await issue(ctx, subject.accountId, EXCHANGE);
    ctx.body.issued_token_type = 'urn:ietf:params:oauth:token-type:access_token';
  }, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope']);
}

const server = settings.tls
  ? createHttps({ ...settings.tls, requestCert: true, rejectUnauthorized: false })
  : createHttp();
server.listen(0, '127.0.0.1', () => {
  const issuer = `${settings.tls ? 'https' : 'http'}://${settings.host}:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  registerGrants(provider);
  provider.on('server_error', (_, error) => console.error(error));
  const serve = provider.callback();
  const asked = {};
  server.on('request', (request, response) => {
    const { pathname } = new URL(request.url, issuer);
    if (pathname === '/asked') return response.end(JSON.stringify(asked));
    asked[pathname] = (asked[pathname] ?? 0) + 1;
    return serve(request, response);
  });
  console.log(JSON.stringify({ issuer }));
});
