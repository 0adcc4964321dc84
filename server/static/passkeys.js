// Passkeys: adding one on the settings page, signing in with one. The server checks everything.
"use strict";

const said = document.getElementById("passkey-said");
const csrf = document.querySelector("input[name=csrf]")?.value ?? "";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function ask(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const told = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

/** What the browser answered, in the JSON of WebAuthn level 3. */
function plain(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"])
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  return { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response,
           clientExtensionResults: {} };
}

async function add(name) {
  const options = await ask("/api/v1/passkeys/options", {});
  options.challenge = toBytes(options.challenge);
  options.user.id = toBytes(options.user.id);
  for (const known of options.excludeCredentials ?? []) known.id = toBytes(known.id);
  const made = await navigator.credentials.create({ publicKey: options });
  await ask(`/api/v1/passkeys?name=${encodeURIComponent(name)}`, plain(made));
  location.reload();
}

async function signIn() {
  const options = await ask("/api/v1/login/options", {});
  options.challenge = toBytes(options.challenge);
  const shown = await navigator.credentials.get({ publicKey: options });
  await ask("/api/v1/login", plain(shown));
  location.assign("/");
}

function offer(element, event, act) {
  element.hidden = false;
  element.addEventListener(event, (happened) => {
    happened.preventDefault();
    said.textContent = "";
    act().catch((error) => {
      said.textContent = error.name === "NotAllowedError" ? "No passkey was used." : error.message;
    });
  });
}

const adding = document.getElementById("passkey-add");
const button = document.getElementById("passkey-sign-in");
if (window.PublicKeyCredential) {
  if (adding) offer(adding, "submit", () => add(adding.elements["name"].value));
  if (button) offer(button, "click", signIn);
} else if (adding) {
  said.textContent = "This browser, or this address, knows no passkeys: they need https and a name.";
}
