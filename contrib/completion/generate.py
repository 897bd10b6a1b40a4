#!/usr/bin/env python3
"""Writes the completion files beside this one, from the table of options that runc itself reads.

Installed as /usr/share/bash-completion/completions/runc, /usr/share/zsh/site-functions/_runc and
/usr/share/fish/vendor_completions.d/runc.fish. A test fails when they are out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from libcontainer.commandline import FLAG, GLOBALS, HELP, VERBS  # noqa: E402
from libcontainer.commandline.usage import option_name  # noqa: E402

if TYPE_CHECKING:
    from libcontainer.commandline import Option

NOTE = "made by contrib/completion/generate.py from runc's own table of options: do not edit"

# What stands after an option with this metavar.
WORDS = {
    "WHEN": "true false auto",
    "MODE": "soft full strict ignore",
    "NAMESPACE": "network",
}
FILES = ("FILE", "SOCKET")
SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH"

# The verbs whose first argument is the id of a container that exists.
WITH_ID = [
    name
    for name, verb in VERBS.items()
    if verb.least == 1 and name not in ("create", "restore", "run")
]


def words_of(option: Option) -> str:
    """The values that an option can have, where they are few."""
    if option[2] == "FORMAT":
        return "text json" if option[0] == "log-format" else "table json"
    return WORDS.get(option[2], "")


def visible(options: tuple[Option, ...]) -> list[Option]:
    """The options that help texts mention."""
    return [option for option in options if option[3]]


def spellings(options: list[Option]) -> list[str]:
    """All names of options, as they are typed."""
    return [option_name(name) for option in options for name in option[0].split()]


def bash() -> str:
    """The completion for bash 4 and newer."""
    every = [*GLOBALS, *(option for verb in VERBS.values() for option in verb.options)]
    valued = [option for option in every if option[1] != FLAG]
    cases: dict[str, str] = {}
    for option in valued:
        action = ": "
        if words_of(option):
            action = '_runc_words "%s"' % words_of(option)
        elif option[2] in FILES:
            action = '_runc_compgen -f -- "$cur"'
        elif option[2] == "DIR":
            action = '_runc_compgen -d -- "$cur"'
        cases["|".join(spellings([option]))] = action.strip()
    by_verb = "".join(
        '    %s) echo "%s" ;;\n' % (name, " ".join(spellings([*visible(verb.options), HELP])))
        for name, verb in VERBS.items()
    )
    by_value = "".join("    %s) %s ;;\n" % case for case in cases.items())
    text = (HERE / "runc.bash.in").read_text()
    return (
        text.replace("@NOTE@", NOTE)
        .replace("@GLOBAL_OPTIONS@", " ".join(spellings(list(GLOBALS))))
        .replace("@VALUED@", "|".join(sorted(set(spellings(valued)))))
        .replace("@VERBS@", " ".join([*VERBS, "help"]))
        .replace("@WITH_ID@", "|".join(WITH_ID))
        .replace("@SIGNALS@", SIGNALS)
        .replace("@BY_VERB@", by_verb.rstrip("\n"))
        .replace("@BY_VALUE@", by_value.rstrip("\n"))
    )


def zsh_option(option: Option) -> str:
    """One specification for _arguments."""
    names, kind, metavar, text = option
    spelled = spellings([option])
    text = text.translate({ord("'"): "", ord("["): "\\[", ord("]"): "\\]", ord(":"): "\\:"})
    repeat = "*" if kind not in (FLAG, "text", "number") else ""
    value = ""
    if kind != FLAG:
        action = "(%s)" % words_of(option) if words_of(option) else ""
        if metavar == "DIR":
            action = "_files -/"
        elif metavar in FILES:
            action = "_files"
        spelled = [name + ("=" if name.startswith("--") else "") for name in spelled]
        value = ":%s:%s" % (names.split()[0], action)
    if len(spelled) == 1:
        return "'%s%s[%s]%s'" % (repeat, spelled[0], text, value)
    excluded = repeat or "(%s)" % " ".join(spellings([option]))
    return "'%s'{%s}'[%s]%s'" % (excluded, ",".join(spelled), text, value)


def zsh() -> str:
    """The completion for zsh."""
    verbs = "".join("    '%s:%s'\n" % (name, verb.summary) for name, verb in VERBS.items())
    cases = []
    for name, verb in VERBS.items():
        lines = [zsh_option(option) for option in [*visible(verb.options), HELP]]
        if name in WITH_ID:
            lines.append("':container:_runc_ids'")
        elif verb.least:
            lines.append("':container id:'")
        if name == "kill":
            lines.append("':signal:(%s)'" % SIGNALS)
        elif verb.passes:
            lines.append("'*:: :_normal'" if name == "exec" else "'*:ps option:'")
        cases.append(
            "    %s)\n      _arguments -S \\\n        %s ;;" % (name, " \\\n        ".join(lines))
        )
    text = (HERE / "_runc.in").read_text()
    return (
        text.replace("@NOTE@", NOTE)
        .replace("@GLOBAL_OPTIONS@", " \\\n    ".join(map(zsh_option, GLOBALS)))
        .replace("@VERBS@", verbs.rstrip("\n").replace("`", ""))
        .replace("@BY_VERB@", "\n".join(cases))
    )


def fish_option(condition: str, option: Option) -> str:
    """One line for one option."""
    names, kind, metavar, text = option
    words = ["complete -c runc -n '%s'" % condition]
    words += [("-s " if len(name) == 1 else "-l ") + name for name in names.split()]
    if kind != FLAG:
        words.append("-rF" if metavar in (*FILES, "DIR") else "-x")
        if words_of(option):
            words.append("-a '%s'" % words_of(option))
    words.append("-d '%s'" % text.replace("'", ""))
    return " ".join(words) + "\n"


def fish() -> str:
    """The completion for fish."""
    text = (HERE / "runc.fish.in").read_text().replace("@NOTE@", NOTE)
    text = text.replace("@VERBS@", " ".join([*VERBS, "help"]))
    for option in GLOBALS:
        text += fish_option("__runc_no_verb", option)
    for name, verb in VERBS.items():
        text += "complete -c runc -n __runc_no_verb -a %s -d '%s'\n" % (name, verb.summary)
        for option in [*visible(verb.options), HELP]:
            text += fish_option("__fish_seen_subcommand_from " + name, option)
    ids = " ".join(WITH_ID)
    text += "complete -c runc -n '__fish_seen_subcommand_from %s' -a '(__runc_ids)'\n" % ids
    text += "complete -c runc -n '__fish_seen_subcommand_from kill' -a '%s'\n" % SIGNALS
    return text


FILES_MADE = {"runc.bash": bash, "_runc": zsh, "runc.fish": fish}


def main() -> None:
    """Write all three."""
    for name, make in FILES_MADE.items():
        (HERE / name).write_text(make())


if __name__ == "__main__":
    main()
