"""The plain FastAPI upload, as a peer: a form with a file, copied to the disk and flushed.

In a file of its own, because FastAPI reads the annotations of a route when it is made.
"""

import os
import shutil
import uuid
from pathlib import Path

from fastapi import FastAPI, UploadFile


def multipart_app(folder: Path) -> FastAPI:
    """One route, `POST /files`."""
    app = FastAPI()

    @app.post("/files", status_code=201)
    def take(file: UploadFile) -> dict[str, int]:
        with (folder / uuid.uuid4().hex).open("wb") as target:
            shutil.copyfileobj(file.file, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
            return {"bytes": target.tell()}

    return app
