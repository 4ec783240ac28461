"""Settings in YAML: what an override reaches, and errors that say where."""

from pathlib import Path

import pytest

from flexsearch.errors import UserError
from flexsearch.old_names import OldName, as_it_was_written
from flexsearch.settings_file import read_values

TEXT = "trial: {batch: 4}\nsegments: [{depth: 1}, {depth: 2}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(TEXT)
    return path


def test_an_override_replaces_or_adds_a_value_and_the_last_one_wins(file: Path) -> None:
    overrides = ["trial.batch=8", "segments.1.depth=[3, 4]", "new.deep.field=a=b", "trial.dtype=", "trial.batch=16"]
    assert read_values(file, overrides) == {
        "trial": {"batch": 16, "dtype": None},
        "segments": [{"depth": 1}, {"depth": [3, 4]}],
        "new": {"deep": {"field": "a=b"}},
    }
    assert file.read_text() == TEXT


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.batch", "--set: must be key=value, but got 'trial.batch'; nearest legal: --set trial.batch=VALUE"),
        ("=8", "--set: must be key=value, but got '=8'"),
        ("trial..batch=8", "--set: must be key=value, but got 'trial..batch=8'"),
        ("trial.batch.size=8", "--set trial.batch.size: batch is a value and has no fields"),
        ("trial.batch={", "--set trial.batch: cannot be set to '{'"),
        (
            "segments.2=8",
            "--set segments.2: must name one of 2 entries by its number, from 0, but got 2; nearest legal: 1",
        ),
        (
            "segments.2.depth=8",
            "--set segments.2.depth: must name one of 2 entries by its number, from 0, but got 2; near",
        ),
        (
            "segments.first.depth=8",
            "--set segments.first.depth: must name one of 2 entries by its number, from 0, but got first",
        ),
        (
            "segments.-1.depth=8",
            "--set segments.-1.depth: must name one of 2 entries by its number, from 0, but got -1",
        ),
    ],
)
def test_an_override_that_reaches_nothing_is_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_values(file, [override])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00\x01", "is not YAML (it is not text)"),
        (b"trial: [", "is not YAML (while parsing"),
        (b"", "must be a mapping, but got NoneType"),
        (b"- a\n", "must be a mapping, but got list"),
        (b"trial: !!python/object/apply:os.getcwd []", "is not YAML (could not determine a constructor"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_by_name(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_values(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_an_old_key_is_read_with_one_note_that_names_the_new_one(file: Path) -> None:
    file.write_text("search: {sampler: tpe, screen: 1}\nobjectives: {fid: {images: 10, drift: true}}")
    with pytest.warns(OldName) as notes:
        found = read_values(file)
    assert found == {
        "search": {"algorithm": "tpe", "pool": 1},
        "objectives": {"quality": {"images": 10}},
    }
    assert sorted(str(note.message) for note in notes) == [
        "objectives.fid is called objectives.quality now",
        "objectives.quality.drift does nothing any more, and may be deleted; "
        "objectives.quality.report: [paired_distance] measures it",
        "search.sampler is called search.algorithm now",
        "search.screen is called search.pool now",
    ]
    assert as_it_was_written({"search": {"screen": 1}}) == {"search": {"pool": 1}}
    file.write_text("search: {sampler: tpe, algorithm: gp}")
    with pytest.raises(UserError, match=r"search\.sampler: is the old name of search\.algorithm, but got both"):
        read_values(file)


def test_a_key_that_is_gone_is_left_out_with_a_note(file: Path) -> None:
    file.write_text("search: {trials: 3, long_schedules: 0, long_factor: 2}")
    with pytest.warns(OldName, match=r"search\.long_(schedules|factor) does nothing any more") as notes:
        assert read_values(file) == {"search": {"trials": 3}}
    assert len(notes) == 2
    assert as_it_was_written({"search": {"long_factor": 3}}) == {"search": {}}
    old = {"fid": {"drift": True}}, {"quality": {"paired_distance": True}}, {"quality": {"paired_distance": False}}
    assert [as_it_was_written({"objectives": one}) for one in old] == [{"objectives": {"quality": {}}}] * 3


BOMB = "b0: &b0 {x: 1}\n" + "".join(
    f"b{level}: &b{level} {{<<: [{', '.join([f'*b{level - 1}'] * 9)}]}}\n" for level in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "at most 40 levels deep"),
        ("- " * 5000, "at most 40 levels deep"),
        (BOMB, "at most 40,000 values, aliases written out"),
        ("a: &a [*a]", "must not hold itself"),
        ("1: 2", "keys must be text, but got 1"),
        ("a: " + "9" * 5000, "is not YAML"),
        *((f"a: !!{tag} foo", "is not YAML") for tag in ("int", "float", "bool", "timestamp", "binary", "set")),
        ('a: "\\0"', "control characters"),
        ("a: " + "x" * 200_000, "at most 200,000 bytes"),
    ],
    ids=lambda value: value[:16],
)
def test_yaml_is_bounded_and_plain(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        read_values(path)
    assert str(refused.value).startswith(str(path))
    assert len(refused.value.message) <= 200


def test_a_date_is_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: 2024-13-45\n")
    assert read_values(tmp_path / "x.yaml") == {"name": "2024-13-45"}
