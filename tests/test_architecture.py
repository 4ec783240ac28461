"""The structure of the code: what only one place may know, and imports without a cycle."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.role import ROLES

PACKAGE = Path(__file__).parents[1] / "flexsearch"
FILES = sorted(PACKAGE.rglob("*.py"))
OF_ROLES = ("schedule/families/", "models/roles/")
DENSITY = "schedule/role.py"  # "dense" and "sparse" are also the densities of tokens, which it defines
STAGES = ("schedule/plan.py", "schedule/density.py", "schedule/timetable.py", "models/stages.py")
STEPS = (
    "first_space.py",
    "schedule/sampling.py",
    "schedule/clock.py",
    "schedule/start.py",
    "space/parsing.py",
    "space/search_space.py",
    "cli/",
    "old_names.py",
    "diffusion/pipeline.py",
    "export/recipe.py",
)


def place(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def nodes(file: Path) -> Iterator[ast.AST]:
    """Every node of a file but its docstrings and the strings below assignments that serve as such."""
    prose = {
        id(statement.value)
        for statement in ast.walk(tree(file))
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    return (node for node in ast.walk(tree(file)) if id(node) not in prose)


def found(kept_in: tuple[str, ...], is_meant: Callable[[ast.AST], bool]) -> list[str]:
    """Places outside `kept_in` that hold what is meant."""
    return [
        f"{place(file)}:{node.lineno}"
        for file in FILES
        if not place(file).startswith(kept_in)
        for node in nodes(file)
        if is_meant(node)
    ]


def words(node: ast.AST) -> Iterator[str]:
    """Names that a node uses, and its strings."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name


def compared(node: ast.AST) -> Iterator[ast.expr]:
    """What a comparison compares, members of a literal collection one by one."""
    match node:
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
        case ast.MatchValue(value=value):
            sides = [value]
        case _:
            return
    for side in sides:
        yield from side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]


def is_text_of_a_locale(node: ast.AST) -> bool:
    """Reads or writes a file in the encoding of whoever runs it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    named = {keyword.arg for keyword in node.keywords}
    return node.func.attr in ("read_text", "write_text") and not named & {"encoding", None}


def test_files_are_the_same_in_every_locale() -> None:
    assert found(("models/settings.py",), is_text_of_a_locale) == []  # that one reads a commit's name


def test_role_names_stay_with_their_families() -> None:
    own = set(ROLES) - {DENSE.name}
    resampled = {"merge_learned", "recover_bilinear", "recover_learned"}
    assert own == {"pool", "merge", "sparse", "recover", "keep", "keep_mlp", "blocksparse", *resampled}
    assert found((*OF_ROLES, DENSITY), lambda node: isinstance(node, ast.Constant) and node.value in own) == []


def test_no_role_is_told_by_being_dense() -> None:
    """A schedule says whether it is dense."""

    def is_meant(node: ast.AST) -> bool:
        return any(isinstance(one, ast.Constant) and one.value == DENSE.name for one in compared(node))

    assert found((*OF_ROLES, DENSITY), is_meant) == []


def test_stages_are_found_where_a_candidate_is_lowered() -> None:
    """The model itself finds them for diffusers' pipelines, which know no plan."""

    def is_meant(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and "stage_of" in words(node.func)

    assert found(STAGES, is_meant) == []


def test_sampler_steps_are_a_key_and_no_attribute_of_everything() -> None:
    assert found(STEPS, lambda node: any("sampler_steps" in word for word in words(node))) == []


QUESTIONS = {"who", "what", "where", "how", "which", "when", "why", "whether", "whose"}


def is_question(node: ast.AST) -> bool:
    """A docstring of a module or a function, no property's, that begins as a question does."""
    if not isinstance(node, ast.Module | ast.FunctionDef):
        return False
    if isinstance(node, ast.FunctionDef) and any("property" in ast.unparse(one) for one in node.decorator_list):
        return False
    return (ast.get_docstring(node) or "-").split()[0].lower() in QUESTIONS


def test_docstrings_begin_with_a_verb_and_not_with_a_question() -> None:
    assert [place(file) for file in FILES for node in ast.walk(tree(file)) if is_question(node)] == []


def imported(file: Path, modules: set[str]) -> Iterator[str]:
    """The modules of the package that a file names in imports at its top level."""
    pending: list[ast.stmt] = list(tree(file).body)
    while pending:
        statement = pending.pop()
        match statement:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name in modules)
            case ast.ImportFrom(module=str(source), names=names) if source in modules:
                for one in names:
                    inner = f"{source}.{one.name}"
                    yield inner if inner in modules else source
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                pending.extend(orelse)
            case ast.If() | ast.Try() | ast.With():
                pending.extend(child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt))


def test_no_import_of_the_package_needs_ray() -> None:
    """It is imported inside the functions of one file, and by nobody before a search goes to Ray: a machine may have
    none. The shared run of the command line's tests is made where `import ray` fails."""
    modules = {"ray", "ray.tune", "ray.tune.search", "ray.tune.schedulers", "ray.cloudpickle"}
    assert [place(file) for file in FILES if set(imported(file, modules))] == []
    runner = "flexsearch.study.ray_tune"
    assert [place(file) for file in FILES if runner in imported(file, {runner})] == []


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Some cycle of a graph, or nothing."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(graph[name]):
            if circle := visit(other):
                return circle
        path.pop()
        done.add(name)
        return []

    return next((circle for name in sorted(graph) if (circle := visit(name))), [])


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_imports_have_no_cycle() -> None:
    modules = {module_of(file): file for file in FILES}
    graph = {name: set(imported(file, set(modules))) for name, file in modules.items()}
    assert "flexsearch.schedule.density" in graph["flexsearch.schedule.plan"]
    assert cycle(graph) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]), ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, [])],
)
def test_a_cycle_is_found(graph: dict[str, set[str]], expected: list[str]) -> None:
    assert cycle(graph) == expected
