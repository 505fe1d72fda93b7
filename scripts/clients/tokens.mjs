// Tokens as NATS has them, made and read with the official library of keys.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.PEERS, "js", "package.json"));
const { createAccount, createOperator, createUser, fromPublic } = require("@nats-io/nkeys");

const url64 = (bytes) => Buffer.from(bytes).toString("base64url");
export const now = () => Math.floor(Date.now() / 1000);

// Signs claims.
export function sign(claims, by) {
  const header = url64(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" }));
  const body = { ...claims, iss: by.getPublicKey(), iat: now(), jti: "" };
  body.jti = createHash("sha512-256").update(JSON.stringify(body)).digest("base64url");
  const text = `${header}.${url64(JSON.stringify(body))}`;
  return `${text}.${url64(by.sign(Buffer.from(text)))}`;
}

// Reads a token, whose signature has to be its issuer's.
export function read(token) {
  const [header, body, signature] = token.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  const signed = Buffer.from(`${header}.${body}`);
  assert.ok(fromPublic(claims.iss).verify(signed, Buffer.from(signature, "base64url")), "a signature is wrong");
  return claims;
}

// An operator with a system account and one account for users, and the configuration that says so.
export function operatorWorld() {
  const [operator, system, account] = [createOperator(), createAccount(), createAccount()];
  const unlimited = { subs: -1, conn: -1, leaf: -1, imports: -1, exports: -1, data: -1, payload: -1, wildcards: true };
  const describe = (key, name) =>
    sign({ sub: key.getPublicKey(), name, nats: { limits: unlimited, type: "account", version: 2 } }, operator);
  const root = sign({ sub: operator.getPublicKey(), name: "O", nats: { type: "operator", version: 2 } }, operator);
  const config = `
operator: ${root}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload {
  ${system.getPublicKey()}: ${describe(system, "SYS")}
  ${account.getPublicKey()}: ${describe(account, "A")}
}`;
  return { account, config };
}

// A user of an account: the token, and the seed that goes with it.
export function userOf(account, nats = {}, more = {}) {
  const user = createUser();
  const claims = { subs: -1, data: -1, payload: -1, type: "user", version: 2, ...nats };
  const jwt = sign({ sub: user.getPublicKey(), name: "user", nats: claims, ...more }, account);
  return { jwt, seed: user.getSeed(), key: user.getPublicKey() };
}

// A user as `.creds` files have them.
export function credentials({ jwt, seed }) {
  const part = (name, text) => `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n\n`;
  return part("NATS USER JWT", jwt) + part("USER NKEY SEED", Buffer.from(seed).toString());
}
