"""What an owner may set of the companion server. Every name carries its unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of one server. `data_dir` holds everything it keeps: media, index, keys."""

    data_dir: Path
    database_url: str = ""
    """`postgresql://user@host/name` for many wearers; empty is SQLite in `data_dir`."""
    media_url: str = ""
    """`s3://bucket/prefix` for many wearers; empty is the folder `media` in `data_dir`."""
    media_endpoint: str = ""
    """Address of an S3-compatible store that is not Amazon's; keys come from the AWS_ variables."""
    migrate_without_backup: bool = False
    """Change the schema even where no verified copy can be made first (PostgreSQL without pg_dump)."""
    name: str = "Beheld"
    """What the pages call this server."""
    public_url: str = ""
    """Address the glasses and the QR code use, if it is not the one the browser asked for."""
    tls_fingerprint: str = ""
    """SHA-256 of the certificate, for the QR code; `beheld serve --tls` sets it."""
    secure_cookies: bool = False
    """Send cookies over TLS only; set it behind a TLS proxy."""
    max_file_mb: int = 2048
    """Largest single file of a snippet."""
    max_manifest_kb: int = 256
    max_files: int = 16
    """Most files in one snippet."""
    quota_mb: int = 0
    """Most that media and unfinished uploads may fill together; 0 is no quota."""
    reserve_mb: int = 512
    """Free space the server never touches: the index must be writable when the disk is full."""
    video_days: int = 0
    """Days after which the video of a moment goes, unless it is kept; 0 is never."""
    preview_days: int = 0
    """Days after which its thumbnail goes as well; 0 is never."""
    record_days: int = 0
    """Days after which the whole moment goes; 0 is never."""
    retention_mb: int = 0
    """Above this much stored the oldest go first, videos before previews before records; 0 is no end."""
    upload_expiry_h: int = 168
    """An unfinished upload untouched for this long is removed; the glasses still hold it."""
    session_days: int = 30
    """How long a browser stays signed in."""
    pairing_code_s: int = 600
    """Life of a one-time pairing code."""
    login_key_s: int = 3600
    """Life of a one-time sign-in link."""
    pairing_tries_per_min: int = 10
    login_tries_per_min: int = 10
    metrics_token: str = ""
    """Bearer token for `/metrics`; empty lets only this machine ask."""
    uploads_per_min: int = 12_000
    """Snippets one pair of glasses may announce a minute."""
    episode_gap_min: float = 15.0
    """Moments further apart than this begin a new chapter of the day."""

    def __post_init__(self) -> None:
        for name in ("max_file_mb", "max_manifest_kb", "max_files", "session_days"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")

    @property
    def database(self) -> Path:
        return self.data_dir / "beheld.sqlite3"
