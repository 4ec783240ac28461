"""Mutants of files, as editors, disks and strangers make them; the same seed makes the same mutant."""

import random

ODD = (
    *(
        "null",
        "[]",
        "{}",
        "-1",
        "0",
        "1e400",
        ".nan",
        "-.inf",
        "true",
        "''",
        "2024-13-45",
        "!!int foo",
        "*a",
        "&a [*a]",
    ),
    *("9" * 5000, "[/]", "'\\0'", '"\\x1b[2J"', "../../x", "~", "[1, [2, [3]]]", "{int: [1, 2]}", "{choice: [[], {}]}"),
    *("!!python/object/apply:os.system [id]", "x" * 100_000, "[" * 5000, "\u202e", "{? [1] : 2}", "<<: {a: 1}", "1_0"),
)
"""What may stand in place of a value."""


def mutate(content: bytes, seed: int) -> bytes:
    """Change a file once or a few times."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        content = draw.choice((_value, _value, _value, _lines, _bytes, _length))(content, draw)
    return content


def _value(content: bytes, draw: random.Random) -> bytes:
    """Put something odd in place of what stands after a colon or between commas."""
    places = [index for index, sign in enumerate(content) if sign in b":,[{"]
    if not places:
        return _bytes(content, draw)
    start = draw.choice(places) + 1
    ends = [end for end in (content.find(sign, start) for sign in (b",", b"\n", b"}", b"]")) if end > 0]
    return content[:start] + b" " + draw.choice(ODD).encode() + content[min(ends, default=len(content)) :]


def _lines(content: bytes, draw: random.Random) -> bytes:
    """Take out, double, swap or indent lines."""
    lines = content.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[first]
        case 1:
            lines.insert(second, lines[first])
        case 2:
            lines[first], lines[second] = lines[second], lines[first]
        case _:
            lines[first] = b"  " + lines[first]
    return b"\n".join(lines)


def _bytes(content: bytes, draw: random.Random) -> bytes:
    """Change single bytes."""
    changed = bytearray(content or b"\0")
    for _ in range(draw.choice((1, 3, 30))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _length(content: bytes, draw: random.Random) -> bytes:
    """Cut, empty, repeat, or fill with zeros."""
    at = draw.randrange(len(content) + 1)
    return draw.choice((content[:at], b"", content + content, content[:at] + bytes(len(content) - at), content[at:]))
