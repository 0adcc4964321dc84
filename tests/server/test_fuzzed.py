"""schemathesis over the OpenAPI document: whatever a machine sends, the answer is what the document says.

Bounded and derandomised: the same requests every time, as the owner and as a pair of glasses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.server.companion import World
from tests.server.conftest import new_world
from tests.server.snippets import make_small_snippet
from tests.server.test_who import WHO

load_all_checks()
CHECKS = [content_type_conformance, response_schema_conformance]
EXAMPLES = 8


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with something in it, that may be broken as far as its API lets one."""
    world = new_world(tmp_path_factory.mktemp("fuzzed"), 0, pairing_tries_per_min=10_000)
    make_small_snippet(world.spool, "one", video=bytes(3000))
    world.syncer().run_once()
    yield world
    world.owner.close()
    world.running.stop()


def test_the_api_does_what_its_document_says(fuzzed: World) -> None:
    schema = schemathesis.openapi.from_dict(fuzzed.owner_app().openapi())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 25
    faults = []
    for operation in operations:
        try:
            _try(fuzzed, operation)
        except (Exception, BaseExceptionGroup) as error:  # all are tried before one is judged
            told = [str(inner) for inner in getattr(error, "exceptions", [error])]
            faults.append(f"{operation.label}: {' | '.join(told)[:600]}")
    assert not faults, "\n".join(faults)
    assert fuzzed.running.services.custody.check() == []
    data = fuzzed.running.services.settings.data_dir
    assert {path.name for path in data.parent.iterdir()} == {"glasses0", "server0", "spool0"}


def _try(world: World, operation: Any) -> None:
    by_glasses = WHO.get(operation.path) == "glasses"
    token = world.credentials.token if by_glasses else world.owner.cookies["beheld_session"]
    headers = {"Authorization": f"Bearer {token}"}
    if "/uploads" in operation.path:
        headers["Tus-Resumable"] = "1.0.0"

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def one(case: Any) -> None:
        answer = case.call(base_url=world.running.url, headers=headers, timeout=60)
        # 501 is the documented answer of a server without a sentence network
        assert answer.status_code < 500 or answer.status_code == 501, answer.text
        case.validate_response(answer, checks=CHECKS)

    one()
