"""Help, and what is wrong with a command line: everything for which argparse is worth its time.

argparse's parsers are made from the table of the package, for one verb at a time. It gets each
option in one spelling, because its own grammar differs from Go's: it would take `-root` for
`-r oot`, refuse a value that begins with a dash and lose one that is `--`. The spelling is
`--name==value`; the second `=` keeps argparse from looking at the value.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from libcontainer.commandline import (
    CONVERT,
    FLAG,
    GLOBALS,
    HELP,
    NUMBERS,
    TEXTS,
    VERBS,
    Command,
    defaults,
    names,
)
from libcontainer.commandline.similar import suggestion
from libcontainer.commandline.texts import ABOUT, ARGUMENTS, DESCRIPTIONS, EXAMPLES

if TYPE_CHECKING:
    from libcontainer.commandline import Option

BAD_USAGE = 1
NO_SUCH_VERB = 3


class UsageError(Exception):
    """The command line breaks the grammar.

    `verb` is the one whose help shows how it goes, `heading` stands above that help and `hint`
    behind the message in the log.
    """

    def __init__(self, message: str, verb: str = "", hint: str = "", heading: str = "") -> None:
        super().__init__(message)
        self.verb = verb
        self.hint = hint
        self.heading = heading or "Incorrect Usage%s %s" % (":" if verb else ".", message)


class Answer:
    """What there is to say about a command line.

    `text` belongs on standard output and `error` into the log, which `settings` describe if the
    global options were in order. `command` is set if there was nothing to complain about.
    """

    def __init__(
        self, text: str = "", error: str = "", status: int = 0, command: Command | None = None
    ) -> None:
        self.text = text
        self.error = error
        self.status = status
        self.command = command
        self.settings: dict[str, Any] = {}


def read(argv: list[str]) -> Answer:
    """Answer the command line `argv`, which does not hold the program's name."""
    settings: dict[str, Any] = {}
    try:
        words, rest = split(argv, GLOBALS, stop=True)
        values, given = understand(parser(), words, GLOBALS, "")
        if values["help"]:
            return Answer(general_help())
        settings = values
        if values["version"]:
            return Answer(command=Command("version", values, {}))
        answer = read_verb(rest, values, given)
    except UsageError as error:
        answer = complaint(error)
    answer.settings = settings
    return answer


def read_verb(argv: list[str], settings: dict[str, Any], given: set[str]) -> Answer:
    """Answer what follows the global options; raises UsageError."""
    if not argv:
        return Answer(general_help())
    name = argv[0]
    if name in ("help", "h"):
        if len(argv) == 1 or argv[1] in ("-h", "--help"):
            return Answer(general_help())
        if argv[1] in VERBS:
            return Answer(verb_help(argv[1]))
        return unknown_verb(argv[1])
    verb = VERBS.get(name)
    if verb is None:
        return unknown_verb(name)
    options = (*verb.options, HELP)
    words, arguments = split(argv[1:], options, verb.passes, name)
    values, given_here = understand(parser(name), [name, *words], options, name)
    if values.pop("help"):
        return Answer(verb_help(name))
    check_count(name, len(arguments))
    command = Command(name, settings, values)
    command.given = given | given_here
    command.arguments = arguments
    return Answer(command=command)


def split(
    argv: list[str], options: tuple[Option, ...], stop: bool, verb: str = ""
) -> tuple[list[str], list[str]]:
    """Separate the options of `argv`, in argparse's spelling, from the arguments.

    Raises UsageError for an option that is not known or lacks its value.
    """
    table = names(options)
    words: list[str] = []
    arguments: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if stop:
                break
            continue
        if word == "--":
            break
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if name not in table:
            raise UsageError(
                "flag provided but not defined: -" + name,
                verb,
                suggestion(name, table, option_name),
            )
        first, kind = table[name]
        if not equals:
            following = "true" if kind == FLAG else next(rest, None)
            if following is None:
                raise UsageError("flag needs an argument: -" + name, verb)
            value = following
        words.append("--%s==%s" % (first, value))
    arguments.extend(rest)
    return words, arguments


def understand(
    reader: Parser, words: list[str], options: tuple[Option, ...], verb: str
) -> tuple[dict[str, Any], set[str]]:
    """Return the values of all `options`, and the names of those that `words` gives."""
    reader.verb = verb
    given = vars(reader.parse_args(words))
    values = defaults(options)
    firsts = {first for first, _ in names(options).values()}
    found = {name: value for name, value in given.items() if name in firsts}
    values.update(found)
    return values, set(found)


def check_count(name: str, count: int) -> None:
    """Raise UsageError, in runc's words, if the verb takes another number of arguments."""
    verb = VERBS[name]
    if verb.least == verb.most and count != verb.least:
        wanted = "exactly %d" % verb.least
    elif count < verb.least:
        wanted = "a minimum of %d" % verb.least
    elif verb.most is not None and count > verb.most:
        wanted = "a maximum of %d" % verb.most
    else:
        return
    raise UsageError(
        'runc: "%s" requires %s argument(s)' % (name, wanted), name, heading="Incorrect Usage."
    )


class Parser(argparse.ArgumentParser):
    """An argument parser that tells errors in Go's words and help in the shape of runc's."""

    verb = ""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message.partition(": ")[2] or message, self.verb)

    def format_help(self) -> str:
        """Return the help text of the verb, or of the program."""
        return verb_help(self.verb) if self.verb else general_help()


def parser(name: str = "") -> Parser:
    """Return the program's parser with a subparser for the verb `name` and no other."""
    reader = Parser(prog="runc", add_help=False, allow_abbrev=False)
    add_options(reader, GLOBALS)
    if name:
        # The name of a global option and of a verb's may be the same (--rootless): see dest.
        verbs = reader.add_subparsers(dest="verb", parser_class=Parser)
        sub = verbs.add_parser(name, add_help=False, allow_abbrev=False)
        sub.verb = name
        add_options(sub, (*VERBS[name].options, HELP))
    return reader


def add_options(reader: argparse.ArgumentParser, options: tuple[Option, ...]) -> None:
    """Declare `options`; one that the command line lacks leaves no trace in the namespace."""
    for words, kind, metavar, text in options:
        first, *others = words.split()
        reader.add_argument(
            "--" + first,
            *(option_name(other) for other in others),
            dest=first,
            metavar=metavar or None,
            default=argparse.SUPPRESS,
            action="append" if kind in (TEXTS, NUMBERS) else "store",
            type=converter(first, kind),
            help=text or argparse.SUPPRESS,
        )


def option_name(name: str) -> str:
    """Return how help texts write an option: `-f`, `--force`."""
    return ("-" if len(name) == 1 else "--") + name


def converter(name: str, kind: str) -> Callable[[str], Any]:
    """Return what argparse calls with an option's value."""

    def convert(shielded: str) -> Any:
        text = shielded[1:]
        try:
            return CONVERT[kind](text)
        except ValueError:
            reason = "parse error"
            if kind == NUMBERS:
                reason = 'strconv.ParseInt: parsing "%s": invalid syntax' % text
            form = 'invalid value "%s" for flag -%s: %s'
            if kind == FLAG:
                form = 'invalid boolean value "%s" for -%s: %s'
            raise argparse.ArgumentTypeError(form % (text, name, reason)) from None

    return convert


def complaint(error: UsageError) -> Answer:
    """Return the answer to a command line that breaks the grammar."""
    shown = verb_help(error.verb) if error.verb else general_help()
    return Answer(error.heading + "\n\n" + shown, str(error) + error.hint, BAD_USAGE)


def unknown_verb(name: str) -> Answer:
    """Return the answer to a verb that does not exist."""
    hint = suggestion(name, (*VERBS, "help"), lambda found: "runc " + found)
    return Answer(error="No help topic for '%s'%s" % (name, hint), status=NO_SUCH_VERB)


def general_help() -> str:
    """Return what `runc --help` shows."""
    from libcontainer import version

    rows = [(name, verb.summary) for name, verb in VERBS.items()]
    rows.append(("help, h", "show this list, or the help of one verb"))
    return (
        "NAME:\n   runc - Open Container Initiative runtime\n\n%s\n"
        "USAGE:\n   runc [global options] command [command options] [arguments...]\n\n"
        "VERSION:\n   %s\n\nCOMMANDS:\n%s\nGLOBAL OPTIONS:\n%s"
    ) % (ABOUT, version.RUNC_VERSION, table(rows), table(option_rows(GLOBALS)))


def verb_help(name: str) -> str:
    """Return what `runc NAME --help` shows."""
    verb = VERBS[name]
    usage = "runc %s%s %s" % (name, " [command options]" if verb.options else "", ARGUMENTS[name])
    return (
        "NAME:\n   runc %s - %s\n\nUSAGE:\n   %s\n\nDESCRIPTION:\n%s\nEXAMPLE:\n%s\nOPTIONS:\n%s"
    ) % (
        name,
        verb.summary,
        usage.rstrip(),
        indented(DESCRIPTIONS[name]),
        indented(EXAMPLES[name]),
        table(option_rows((*verb.options, HELP))),
    )


def option_rows(options: tuple[Option, ...]) -> list[tuple[str, str]]:
    """Return the two columns of a list of options, the hidden ones left out."""
    rows = []
    for option in options:
        words, _, metavar, text = option
        if not text:
            continue
        value = " " + metavar if metavar else ""
        left = ", ".join(option_name(word) + value for word in words.split())
        rows.append((left, text + default_of(option)))
    return rows


def default_of(option: Option) -> str:
    """Return ` (default: …)` as it stands behind the text of an option, or nothing."""
    first = option[0].split()[0]
    if first == "interval":
        return " (default: 5s)"
    if first == "status-fd":
        return ""
    default = "/run/runc" if first == "root" else defaults((option,))[first]
    return ' (default: "%s")' % default if default else ""


def table(rows: list[tuple[str, str]]) -> str:
    """Return two aligned columns, indented as in runc's help."""
    width = max(len(left) for left, _ in rows) + 2
    return "".join("   %s%s\n" % (left.ljust(width), right) for left, right in rows)


def indented(text: str) -> str:
    """Return `text` with three blanks in front of each line that is not empty."""
    return "".join("   " + line + "\n" if line else "\n" for line in text.strip("\n").split("\n"))
