#!/usr/bin/env python3
"""Writes the manual pages runc.8 and runc-VERB.8 into the directory that is its argument.

They are made from the table of options and the texts that `runc --help` shows, so nothing has to be
kept up to date: make them where they are packed, for example

    contrib/man/generate.py /usr/local/share/man/man8
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from libcontainer import version
from libcontainer.commandline import GLOBALS, HELP, VERBS
from libcontainer.commandline.texts import (
    ABOUT,
    ARGUMENTS,
    DESCRIPTIONS,
    EXAMPLES,
)
from libcontainer.commandline.usage import default_of, option_name

if TYPE_CHECKING:
    from libcontainer.commandline import Option

SECTION = 8

EXIT_STATUS = """\
0 when all went well, 1 when it did not, 3 for a verb that does not exist. `runc run` and `runc exec`
hand on the status of the program that they ran, 128+N if signal N killed it; `runc exec` fails with 255.
"""

# Path and what is there.
FILES = (
    ("config.json", "In a bundle: what to run, and how it is confined."),
    ("/run/runc", "The state of root's containers, a directory for each."),
    ("$XDG_RUNTIME_DIR/runc", "The state of an ordinary user's containers."),
)

# Variable and what it does.
ENVIRONMENT = (
    ("XDG_RUNTIME_DIR", "Where an ordinary user's state is kept."),
    ("NOTIFY_SOCKET", "Is told when the program in the container is ready; see sd_notify(3)."),
    ("LISTEN_FDS", "So many open sockets are the container's; see sd_listen_fds(3)."),
)


def escaped(text: str) -> str:
    """`text` so that troff shows it as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return text.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")


def prose(text: str) -> str:
    """Escaped text, `words between backquotes` bold, lines beginning with # as examples."""
    lines = []
    for line in text.strip().split("\n"):
        if line.strip().startswith("# "):
            lines += [".EX", escaped("    " + line.strip()), ".EE"]
        elif not line:
            lines.append(".PP")
        else:
            pieces = line.split("`")
            marked = [
                f"\\fB{escaped(p)}\\fR" if n % 2 else escaped(p) for n, p in enumerate(pieces)
            ]
            # A dot or a quote at the beginning of a line would be a request.
            lines.append("\\&" * (line[0] in ".'") + "".join(marked))
    text = "\n".join(lines)
    for request in (".EX", ".EE"):
        text = text.replace(f".PP\n{request}", request)
    return (
        text.replace(".EE\n.PP", ".EE").replace(".EX", ".PP\n.EX").replace(".EE", ".EE\n.PP") + "\n"
    )


def examples(text: str) -> str:
    """Lines of an example, set as they stand."""
    return ".EX\n" + "".join(escaped(line) + "\n" for line in text.strip().split("\n")) + ".EE\n"


def bold(name: str) -> str:
    """An option or a command."""
    return f"\\fB{escaped(name)}\\fR"


def option(described: Option) -> str:
    """One option: its names, its value, what it does and the default."""
    words, _, metavar, text = described
    value = f" \\fI{escaped(metavar)}\\fR" if metavar else ""
    tag = ", ".join(bold(option_name(name)) + value for name in words.split())
    return f".TP\n{tag}\n{prose(text + default_of(described))}"


def options(described: tuple[Option, ...]) -> str:
    """A list of options, without those that help texts do not mention either."""
    return "".join(option(one) for one in described if one[3])


def tagged(rows: tuple[tuple[str, str], ...]) -> str:
    """A list of names with what each of them is."""
    return "".join(f".TP\n{bold(name)}\n{prose(text)}" for name, text in rows)


def page(name: str, summary: str, *sections: tuple[str, str]) -> str:
    """A whole page: its head and sections of a title and a body each."""
    title = (
        f'.TH {name.upper()} {SECTION} "" "runc {version.RUNC_VERSION}" "System administration"\n'
    )
    head = f'.\\" Made by contrib/man/generate.py from the texts of runc --help.\n{title}'
    body = (("NAME", f"{escaped(name)} \\- {prose(summary)}"), *sections)
    return head + "".join(f".SH {heading}\n{text}" for heading, text in body)


def references(verbs: list[str]) -> str:
    """References to other pages."""
    return (
        ",\n".join(f".BR {escaped(name)} ({SECTION})" for name in verbs).replace(",\n", " ,\n")
        + "\n"
    )


def program() -> str:
    """runc.8."""
    verbs = tuple((f"runc-{name}({SECTION})", verb.summary) for name, verb in VERBS.items())
    return page(
        "runc",
        "Open Container Initiative runtime",
        (
            "SYNOPSIS",
            ".B runc\n[\\fIglobal options\\fR] \\fIverb\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n",
        ),
        ("DESCRIPTION", prose(ABOUT)),
        ("VERBS", tagged(verbs)),
        ("GLOBAL OPTIONS", options(GLOBALS)),
        ("EXIT STATUS", prose(EXIT_STATUS)),
        ("ENVIRONMENT", tagged(ENVIRONMENT)),
        ("FILES", tagged(FILES)),
        ("SEE ALSO", references([f"runc-{name}" for name in VERBS])),
    )


def verb_page(name: str) -> str:
    """runc-NAME.8."""
    verb = VERBS[name]
    given = " [\\fIoptions\\fR] " if verb.options else " "
    return page(
        f"runc-{name}",
        verb.summary,
        ("SYNOPSIS", f"{bold('runc ' + name)}{given}{escaped(ARGUMENTS[name])}".rstrip() + "\n"),
        ("DESCRIPTION", prose(DESCRIPTIONS[name])),
        ("OPTIONS", options((*verb.options, HELP))),
        ("EXAMPLES", examples(EXAMPLES[name])),
        ("SEE ALSO", references(["runc"])),
    )


def pages() -> dict[str, str]:
    """All pages by the names of their files."""
    made = {f"runc.{SECTION}": program()}
    for name in VERBS:
        made[f"runc-{name}.{SECTION}"] = verb_page(name)
    return made


def main() -> None:
    """Write them."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: {sys.argv[0]} DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main()
