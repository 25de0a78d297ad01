"""Candidate shapes: which there are, which the released model can choose, and the files that hold them."""

import sqlite3
from contextlib import closing
from itertools import product

import pytest

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import MAX_TILES, plan_views
from modelmeter.sweeps.shapes import Shape, generate_shapes, make_shapes_file, read_shapes, write_shapes

ENDINGS = [".yaml", ".yml", ".db", ".sqlite", ".sqlite3", ".YAML"]
FIVE = [Shape(1, 1, True), Shape(2, 3, True), Shape(5, 5, False), Shape(1, 7, False), Shape(3, 2, True)]


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


def test_every_grid_to_nine_tiles_and_the_most_square_beyond():
    shapes = {shape.grid for shape in generate_shapes(40)}
    assert shapes >= {(w, n // w) for n in range(2, 10) for w in divisors(n)}
    assert (1, 1) in shapes
    for tiles in range(10, 41):
        (found,) = [(w, h) for w, h in shapes if w * h == tiles]
        assert found == min(((w, tiles // w) for w in divisors(tiles)), key=lambda grid: (abs(grid[1] - grid[0]), grid))


@pytest.mark.parametrize("max_tiles", [1, 2, 4, 9, 10, 31])
def test_no_shape_has_more_tiles_and_each_number_has_one(max_tiles):
    shapes = generate_shapes(max_tiles)
    tiles = [shape.width * shape.height for shape in shapes]
    assert set(tiles) == set(range(1, max_tiles + 1))
    order = [(shape.width * shape.height, shape.width) for shape in shapes]
    assert order == sorted(order)
    # 1x1, then as many grids as 2, 3, ..., 9 have divisors, then one each
    assert len(shapes) == 1 + sum(len(divisors(n)) if n <= 9 else 1 for n in range(2, max_tiles + 1))


def test_the_mark_is_what_the_released_rule_can_choose():
    sides = [100, *range(640, 640 * 9 + 1, 640)]
    chosen = {plan_views(width, height, mode="gundam", max_tiles=9).grid for width, height in product(sides, sides)}
    assert {shape.grid for shape in generate_shapes(60) if shape.vendor} == chosen


@pytest.mark.parametrize("max_tiles", [0, -1, MAX_TILES + 1, 9.0, "9", True, None])
def test_a_number_of_tiles_that_cannot_be(max_tiles):
    with pytest.raises(ModelMeterError, match=r"max_tiles is .*: give a number from 1 to 1024"):
        generate_shapes(max_tiles)


def test_the_list_that_comes_along():
    shapes = read_shapes()
    assert [shape for shape in shapes if shape.vendor] == generate_shapes(9)
    beyond = [shape for shape in shapes if not shape.vendor]
    assert beyond and set(beyond) < set(generate_shapes(32))


def test_a_shape_as_views():
    views = Shape(2, 3, True).views()
    # the global view: 16 rows of 16 and a newline, a separator; tiles: 3 * 10 rows of 2 * 10 and a newline
    assert views.image_tokens == 16 * 17 + 1 + 30 * 21
    assert views.views == ((6, 640), (1, 1024))
    assert Shape(1, 1, True).views(base_size=1280).views == ((1, 1280),)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read(tmp_path, ending):
    path = tmp_path / "new" / f"shapes{ending}"
    write_shapes(FIVE, path)
    assert read_shapes(path) == FIVE  # in their order, marks as given
    write_shapes(FIVE[1:], path)
    assert read_shapes(path) == FIVE[1:]
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_both_formats_name_their_schema(tmp_path):
    for name in ("a.yaml", "a.db"):
        assert make_shapes_file(12, tmp_path / name) == generate_shapes(12) == read_shapes(tmp_path / name)
    assert "\nschema: modelmeter.shapes/1\n" in (tmp_path / "a.yaml").read_text(encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        assert database.execute("SELECT value FROM metadata WHERE name = 'schema'").fetchall() == [
            ("modelmeter.shapes/1",)
        ]
        wide = database.execute("SELECT width, height, vendor FROM shapes WHERE width = 3 AND height > 2").fetchall()
    assert wide == [(3, 3, 1), (3, 4, 0)]


def test_a_database_by_another_name_is_read(tmp_path):
    write_shapes(FIVE, tmp_path / "a.db")
    (tmp_path / "a.db").rename(tmp_path / "a")
    assert read_shapes(tmp_path / "a") == FIVE


def test_a_database_that_another_program_has_open(tmp_path):
    write_shapes(FIVE, tmp_path / "a ?#%.db")
    with closing(sqlite3.connect(tmp_path / "a ?#%.db")) as database:
        database.execute("PRAGMA journal_mode=wal")  # new rows stay in a file of their own for a while
        database.execute("INSERT INTO shapes VALUES (6, 6, 0)")
        database.commit()
        assert read_shapes(tmp_path / "a ?#%.db") == [*FIVE, Shape(6, 6, False)]


def test_a_mark_left_out_is_that_of_the_released_model(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("schema: modelmeter.shapes/1\nshapes:\n- {width: 3, height: 3}\n- width: 2\n  height: 5\n")
    assert read_shapes(path) == [Shape(3, 3, True), Shape(2, 5, False)]


TOP = "schema: modelmeter.shapes/1\nshapes:\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOP + "- {width: two, height: 3}", "shape 1: width is 'two': give a whole number"),
        (TOP + "- {width: 1, height: 1}\n- {width: 2, height: -3}", "shape 2: height is -3: give a whole number"),
        (TOP + "- {width: 2, height: 0}", "shape 1: height is 0"),
        (TOP + "- {width: 2.0, height: 3}", "shape 1: width is 2.0"),
        (TOP + "- {width: true, height: 3}", "shape 1: width is True"),
        (TOP + "- {width: 2}", "shape 1: height is missing"),
        (TOP + "- {width: 2, height: 3, vendor: 1}", "shape 1: vendor is 1: give true or false"),
        (TOP + "- {width: 2, height: 3, depth: 1}", "shape 1: unknown field 'depth': use width, height, vendor"),
        (TOP + "- {width: 2, height: 3}\n- {width: 2, height: 3, vendor: false}", "shape 2: 2x3 is there already"),
        (TOP + "- {width: 40, height: 40}", "shape 1: 40x40 has 1600 tiles: at most 1024"),
        (TOP + "- 2x3", "shape 1 is '2x3': write it as {width: 2, height: 3}"),
        ("schema: modelmeter.shapes/1\nshapes: []", "has no shapes"),
        ("schema: modelmeter.shapes/1\nshapes: 3", "shapes is 3: give a list"),
        ("schema: modelmeter.shapes/1", "shapes is None: give a list"),
        (TOP + "- {width: 2, height: 3}\nextra: 1", "unknown field 'extra'"),
        ("shapes:\n- {width: 2, height: 3}", "names no schema, such as modelmeter.shapes/1"),
        ("schema: modelmeter.shapes/2\nshapes: []", "has the schema 'modelmeter.shapes/2', this version"),
        ("schema: modelmeter.sweep/1\nshapes: []", "has the schema 'modelmeter.sweep/1', this version"),
        ("schema: [1\n", "is not YAML"),
        ("schema: 2026-99-99\n", "is not YAML: month must be in"),
        ("schema: !!bool 3\n", "is not YAML: '3'"),
        ("- 1\n- 2\n", "is no list of shapes: write `schema: modelmeter.shapes/1`"),
        ("", "is no list of shapes"),
        (b"\xff\xfe\x00", "neither YAML in UTF-8 nor SQLite"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path, text, words):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelMeterError) as error:
        read_shapes(path)
    line = str(error.value)
    assert line.startswith(str(path)) and words in line and "\n" not in line


METADATA = "CREATE TABLE metadata (name, value); INSERT INTO metadata VALUES ('schema', 'modelmeter.shapes/1');"
SHAPES = "CREATE TABLE shapes (width, height, vendor);"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("CREATE TABLE other (x)", "is no list of shapes: no such table: metadata"),
        (METADATA, "is no list of shapes: no such table: shapes"),
        (METADATA + SHAPES, "has no shapes"),
        (METADATA.replace("shapes/1", "shapes/9") + SHAPES, "has the schema 'modelmeter.shapes/9'"),
        (METADATA.replace("schema", "scheme") + SHAPES, "names no schema"),
        (METADATA + SHAPES + "INSERT INTO shapes VALUES (2, 'x', 1)", "shape 1: height is 'x'"),
        (METADATA + SHAPES + "INSERT INTO shapes VALUES (2, 3, 2)", "shape 1: vendor is 2"),
        (METADATA + SHAPES + "INSERT INTO shapes VALUES (2, -3, 1)", "shape 1: height is -3"),
        (METADATA + SHAPES + "INSERT INTO shapes VALUES (2, NULL, 1)", "shape 1: height is None"),
        (METADATA + SHAPES + "INSERT INTO shapes VALUES (2, 3, 1), (2, 3, 1)", "shape 2: 2x3 is there already"),
        (METADATA + "CREATE TABLE shapes (width)" + "; INSERT INTO shapes VALUES (2)", "shape 1: height is missing"),
    ],
)
def test_a_broken_database_is_one_line_that_names_it(tmp_path, script, words):
    path = tmp_path / "broken.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    with pytest.raises(ModelMeterError) as error:
        read_shapes(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)


def test_a_database_cut_short(tmp_path):
    write_shapes(FIVE, tmp_path / "a.db")
    whole = (tmp_path / "a.db").read_bytes()
    for length in (16, 100, len(whole) - 4096):
        (tmp_path / "a.db").write_bytes(whole[:length])
        with pytest.raises(ModelMeterError, match=r"a\.db is no list of shapes"):
            read_shapes(tmp_path / "a.db")


def test_the_database_takes_no_broken_row(tmp_path):
    write_shapes(FIVE, tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        for row in [(2, 3, 1), (0, 3, 1), (2.5, 3, 1), ("x", 3, 1), (7, 3, 2), (7, None, 1)]:
            with pytest.raises(sqlite3.IntegrityError):
                database.execute("INSERT INTO shapes VALUES (?, ?, ?)", row)


def test_no_file_and_no_place(tmp_path):
    with pytest.raises(ModelMeterError, match=r"cannot read the shapes in gone\.yaml: No such file"):
        read_shapes("gone.yaml")
    with pytest.raises(ModelMeterError, match=r"cannot read the shapes in .*: Is a directory"):
        read_shapes(tmp_path)
    for name in ("shapes.json", "shapes", "-"):
        with pytest.raises(ModelMeterError, match=r"the name must end in one of .yaml, .yml, .db"):
            write_shapes(FIVE, tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match=r"cannot write .*: choose another file"):
        write_shapes(FIVE, tmp_path / "file" / "shapes.db")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ModelMeterError, match=r"cannot write .*: choose another file"):
        write_shapes(FIVE, tmp_path / "folder.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.yaml"]


def test_lists_that_cannot_be_written(tmp_path):
    with pytest.raises(ModelMeterError, match="no shapes"):
        write_shapes([], tmp_path / "a.yaml")
    with pytest.raises(ModelMeterError, match="2x3 is given twice"):
        write_shapes([Shape(2, 3, True), Shape(2, 3, False)], tmp_path / "a.yaml")
    assert list(tmp_path.iterdir()) == []
