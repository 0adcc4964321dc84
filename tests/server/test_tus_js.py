"""tus-js-client, which nobody here wrote, uploads to the server: at once, in chunks, cut and resumed.

It is installed by npm into a temporary folder; $BEHELD_TUS_JS may name a node_modules that has it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from device.identity import MANIFEST
from tests.server.companion import World
from tests.server.snippets import make_small_snippet

VERSION = "4.3.1"
VIDEO = bytes(range(256)) * 1024
CLIENT = """
const fs = require("fs"), path = require("path")
const [modules, endpoint, token, folder, chunk, cut] = process.argv.slice(2)
const tus = require(path.join(modules, "tus-js-client"))
const tell = (what) => console.log(JSON.stringify(what))

function send(name, options) {
  return new Promise((done, failed) => {
    const file = fs.createReadStream(path.join(folder, name))
    const upload = new tus.Upload(file, {
      endpoint, headers: { Authorization: "Bearer " + token }, retryDelays: null,
      metadata: { snippet: path.basename(folder), filename: name },
      chunkSize: Number(chunk) || Infinity, uploadSize: fs.statSync(path.join(folder, name)).size,
      onError: failed, onSuccess: () => done(upload.url),
      onChunkComplete: () => { if (options.cut) upload.abort().then(() => done(upload.url)) },
      ...options.more,
    })
    upload.start()
  })
}

(async () => {
  await send("moment.json", { more: {} })
  if (cut === "cut") {
    const url = await send("scene.mp4", { cut: true, more: {} })
    tell({ cut: url })
    let first = null
    await send("scene.mp4", { more: { uploadUrl: url, onProgress: (at) => { first = first ?? at } } })
    tell({ resumed: first })
  } else {
    await send("scene.mp4", { more: {} })
  }
  tell({ done: true })
})().catch((error) => { console.error(String(error)); process.exit(1) })
"""


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node_modules with tus-js-client; skips with the remedy where it cannot be had."""
    given = os.environ.get("BEHELD_TUS_JS")
    if given and (Path(given) / "tus-js-client").is_dir():
        return Path(given)
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm (https://nodejs.org), or $BEHELD_TUS_JS with tus-js-client")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", f"tus-js-client@{VERSION}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
        why = done.stderr.strip()[-200:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = "timed out"
    if not (folder / "node_modules" / "tus-js-client").is_dir():
        pytest.skip(f"npm could not install tus-js-client ({why}); set $BEHELD_TUS_JS")
    return folder / "node_modules"


@pytest.mark.parametrize(("chunk", "cut"), [(0, ""), (50_000, ""), (50_000, "cut")])
def test_tus_js_client(world: World, tmp_path: Path, modules: Path, chunk: int, cut: str) -> None:
    folder = make_small_snippet(world.spool, "one", video=VIDEO)
    raw = (folder / "manifest.json").read_bytes()
    signature = {"Beheld-Signature": world.identity.sign(MANIFEST, raw)}
    with world.device() as device:
        assert device.put("/snippets/one", content=raw, headers=signature).status_code == 200
    script = tmp_path / "client.js"
    script.write_text(CLIENT)
    done = subprocess.run(
        ["node", str(script), str(modules), f"{world.api}/uploads", world.credentials.token,
         str(folder), str(chunk), cut],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[-1] == {"done": True}
    if cut:
        assert told[0]["cut"].endswith("/api/v1/uploads/one/scene.mp4")
        assert told[1]["resumed"] >= chunk  # it went on where it was
    with world.device() as device:
        answer = device.post("/snippets/one/commit")
    assert answer.json()["state"] == "stored"
    assert world.running.services.custody.check() == []
