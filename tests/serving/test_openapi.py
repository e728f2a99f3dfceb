import jsonschema
import pytest

from ferflow.params import Serve
from ferflow.serving import openapi
from ferflow.serving.openapi import complete
from ferflow.serving.routes import ROUTES

GIVEN = {
    "paths": {
        path: {"post": {"responses": {}, "tags": ["t"], "description": "What it does."}}
        for path in [*ROUTES, "/other"]
        if path != "/"
    }
}


@pytest.fixture(scope="module")
def document() -> dict:
    return complete(GIVEN)


def operations(document: dict) -> list[tuple[str, str, dict]]:
    return [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]


def test_every_address_that_the_guard_lets_through_is_described_and_no_other(document):
    assert set(document["paths"]) == set(ROUTES) - {"/"}
    names = [one["operationId"] for _, _, one in operations(document)]
    assert len(names) == len(set(names))
    assert {"get", "post"} == set(document["paths"]["/model"])


def test_every_answer_that_can_come_is_there(document):
    predict = document["paths"]["/predict"]["post"]["responses"]
    assert set(predict) == {"200", "400", "401", "403", "408", "413", "415", "429", "500", "503"}
    assert "Retry-After" in predict["503"]["headers"]
    assert "404" in document["paths"]["/feedback"]["post"]["responses"]
    assert "429" not in document["paths"]["/livez"]["get"]["responses"]


def test_examples_are_of_the_types_that_they_show(document):
    schemas = {"components": document["components"]}
    shown = 0
    for path, _, one in operations(document):
        answers = one["responses"].values()
        for content in [one.get("requestBody", {}).get("content", {}), *(answer["content"] for answer in answers)]:
            for media in content.values():
                if "example" in media:
                    jsonschema.validate(media["example"], media["schema"] | schemas)
                    shown += 1
        assert one["responses"]["200"]["content"], path
    assert shown > 50


def test_references_lead_somewhere(document):
    left, found = [document], 0
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "$ref" in one:
                assert one["$ref"].rpartition("/")[2] in document["components"]["schemas"]
                found += 1
            left += one.values()
        elif isinstance(one, list):
            left += one
    assert found > 30


def test_keys_are_asked_for_where_they_are_needed(document):
    security = {path: one.get("security") for path, _, one in operations(document)}
    assert security["/predict"] == [{}, {"bearer": []}, {"header": []}]
    assert security["/feedback"] == [{"bearer": []}, {"header": []}]
    assert security["/livez"] is None
    closed = complete(GIVEN, Serve(require_key=True))
    assert {} not in closed["paths"]["/predict"]["post"]["security"]


def test_limits_are_those_of_the_settings():
    document = complete(GIVEN, Serve(max_megabytes=3, max_pictures=5, max_crops=7, requests_a_minute=11))
    images = document["paths"]["/predict_batch"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert images["properties"]["images"]["maxItems"] == 5
    assert document["components"]["schemas"]["Crops"]["properties"]["crops"]["maxItems"] == 7
    assert "3 MB a body" in document["info"]["description"]
    assert "11 requests a minute" in document["info"]["description"]


def test_what_is_given_stays_as_it_is():
    before = repr(GIVEN)
    complete(GIVEN)
    assert repr(GIVEN) == before


def test_every_answer_has_an_example_and_it_is_one():
    assert set(openapi._ANSWERS) >= set(openapi._TYPES)
    for path, kind in openapi._TYPES.items():
        kind.model_validate(openapi._ANSWERS[path])
