import pytest
from conftest import ACTION_UNITS, png

from ferflow.datasets import DataError, Part, fer2013, synthetic, union, utkface

SOURCES = {
    "fer": {"source": "fer2013", "path": "fer"},
    "utk": {"source": "utkface", "path": "utk"},
    "drawn": {"source": "synthetic", "path": str(ACTION_UNITS), "options": {"count": 5, "size": 24}},
}


@pytest.fixture
def raw(tmp_path):
    names = [f"fer/{split}/happy/{number}.jpg" for split in ("train", "test") for number in range(4)]
    for number, name in enumerate([*names, "utk/20_0_0_1.jpg", "utk/30_1_1_2.jpg", "utk/30_1_3.jpg"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(number, size=8))
    return tmp_path


def rows(path, sources=SOURCES, seed=3, **options):
    return list(union.load(path, seed=seed, sources=sources, **options))


def test_every_source_in_turn_under_its_name(raw):
    found = rows(raw)
    assert [row["source"] for row in found] == ["fer"] * 8 + ["utk"] * 3 + ["drawn"] * 5
    alone = [
        *fer2013.load(raw / "fer", seed=3),
        *utkface.load(raw / "utk", seed=3),
        *synthetic.load(ACTION_UNITS, seed=3, count=5, size=24),
    ]
    assert [row["id"] for row in found] == [f"{row['source']}/{one['id']}" for row, one in zip(found, alone, strict=True)]
    for row, one in zip(found, alone, strict=True):
        assert {**row, "id": one["id"], "source": one["source"]} == {"official_split": None, **one}
    assert len({row["id"] for row in found}) == len(found)


def test_the_same_source_may_come_twice_and_the_seed_is_handed_on(raw):
    drawn = SOURCES["drawn"]
    found = rows(raw, {"a": drawn, "b": drawn})
    assert [row["id"] for row in found[::5]] == ["a/synthetic-000000", "b/synthetic-000000"]
    assert rows(raw, {"a": drawn}, seed=4)[0]["image"] != found[0]["image"]


def test_official_splits_can_be_forgotten(raw):
    fer = SOURCES["fer"]
    assert {row["official_split"] for row in rows(raw, {"a": fer})} == {"train", "test"}
    assert {row["official_split"] for row in rows(raw, {"a": {**fer, "official": False}})} == {None}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16, 40])
def test_shares_in_their_order_are_the_whole(count, raw):
    assert [row for index in range(count) for row in rows(raw, part=Part(index, count))] == rows(raw)


def test_shares_are_about_even():
    for sources in (1, 2, 3, 7):
        for count in (1, 2, 3, 10):
            every = [list(Part(index, count).of_blocks(sources)) for index in range(count)]
            assert {len(share) for share in every} == {sources}
            assert [pair for share in every for pair in share] == [
                (k, Part(j, count)) for k in range(sources) for j in range(count)
            ]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (None, "options.sources is empty"),
        ({}, "options.sources is empty"),
        (["fer2013"], "options.sources is empty"),
        ({"a": "fer2013"}, "options.sources.a is 'fer2013'; expected source and path"),
        ({"a": {"source": "fer2013"}}, "options.sources.a is .* expected source and path"),
        ({"a": {"source": "fer2013", "path": "fer", "usage": {}}}, "options.sources.a is .* expected source and path"),
        ({"a/b": {"source": "fer2013", "path": "fer"}}, "a name has no /"),
        ({"a": {"source": "fer2014", "path": "fer"}}, "sources.a: no datasets entry is called 'fer2014'; known: .*fer2013"),
        ({"a": {"source": "fer2013", "path": "fer", "options": {"x": 1}}}, "a.options for .* unknown options x; known: .*usage"),
        ({"a": {"source": "fer2013", "path": "fer", "options": [1]}}, "options.sources.a is .* expected options as"),
        ({"a": {"source": "fer2013", "path": "fer", "official": "no"}}, "official as true or false"),
        ({"a": SOURCES["fer"], "b": {"source": "fer2013", "path": "none.zip"}}, r"none\.zip is not there"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named(sources, words, raw):
    with pytest.raises(ValueError, match=words) as error:
        rows(raw, sources)
    assert isinstance(error.value, DataError) or "unknown options" in words
