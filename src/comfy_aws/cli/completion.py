"""`comfy-aws completion`: scripts by which bash, zsh and fish complete the command line.

Written from the parser itself and static: a TAB starts no Python. Names of templates, endpoints and
jobs come from the files of `names`. See docs/adr/0008.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

from comfy_aws.cli.tree import Node, Option, nodes

PROGRAM: Final = "comfy-aws"
HOW: Final = {
    "bash": 'add to ~/.bashrc: eval "$(comfy-aws completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(comfy-aws completion zsh)"',
    "fish": "comfy-aws completion fish > ~/.config/fish/completions/comfy-aws.fish",
}


def add(topics: Any) -> None:
    about = "print a script by which a shell completes this command line"
    parser = topics.add_parser(
        "completion", help=about, description=f"{about[0].upper()}{about[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["To have it in every new shell:", *(f"  {how}" for how in HOW.values())]),
    )  # fmt: skip
    parser.add_argument("shell", choices=sorted(HOW), help="whose script")

    def run(arguments: argparse.Namespace) -> int:
        print(_SCRIPTS[arguments.shell](list(nodes(topics))), end="")
        return 0

    parser.set_defaults(run=run)


def _quoted(text: str) -> str:
    """For all three shells: single quotes, and no quote inside."""
    return "'" + text.replace("'", "’") + "'"


# -- bash --------------------------------------------------------------------------------------

_BASH: Final = """\
# bash completion for comfy-aws
_comfy_aws() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="" at="" word i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        [[ "$word" == "=" ]] || before="$word"
        case "$at $word" in
@steps@
        esac
    done
    [[ "$current" == "=" ]] && current=""
    local options="" words="" files="" named=""
    case "$at" in
@nodes@
    esac
    case "$at $before" in
@values@
    esac
    named="${COMFY_AWS_HOME:-$HOME/.comfy-aws}/names/$named"
    [[ -f "$named" && -r "$named" ]] && words+=" $(<"$named")"
    if [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
        if [[ -n "$files" ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
        fi
    fi
}
complete -F _comfy_aws comfy-aws
"""


def bash(tree: list[Node]) -> str:
    """Words are found one by one from the left; what follows an option is its value."""
    steps = []
    for node in tree:
        for word, _ in node.words:
            before, after = _quoted(f"{_at(node.path)} {word}"), _quoted(_at((*node.path, word)))
            steps.append(f"            {before}) at={after} ;;")
    lines, values = [], []
    for node in tree:
        options = " ".join(name for option in node.options for name in option.names)
        words = " ".join([*(word for word, _ in node.words), *node.values])
        files = "files=1" if node.takes_files else "files="
        lines.append(f"        {_quoted(_at(node.path))}) options={_quoted(options)} "
                     f"words={_quoted(words)} {files} named={node.named} ;;")  # fmt: skip
        for option in node.options:
            if not option.takes:
                continue
            files = "files=1" if option.takes == "file" else "files="
            names = "|".join(_quoted(f"{_at(node.path)} {name}") for name in option.names)
            words = _quoted(" ".join(option.values))
            named = f"named={option.named}"
            values.append(f"        {names}) options= words={words} {files} {named} ;;")
    script = _BASH.replace("@steps@", "\n".join(steps)).replace("@nodes@", "\n".join(lines))
    return script.replace("@values@", "\n".join(values))


def _at(path: tuple[str, ...]) -> str:
    return "/".join(path)


# -- zsh ---------------------------------------------------------------------------------------


_ZSH: Final = """\
_comfy_aws_names() { # FILE: a name a line
    local file="${COMFY_AWS_HOME:-$HOME/.comfy-aws}/names/$1"
    local -a found
    [[ -r $file ]] && found=(${(f)"$(<$file)"})
    compadd -a found
}
"""


def zsh(tree: list[Node]) -> str:
    """One function a node, by `_arguments`, which shows what each word and option is for."""
    functions = "\n".join(_zsh_function(node) for node in tree)
    return f"#compdef {PROGRAM}\n{_ZSH}{functions}\ncompdef _comfy_aws {PROGRAM}\n"


def _zsh_function(node: Node) -> str:
    lines = [f"    {_quoted(spec)} \\" for option in node.options for spec in _zsh_option(option)]
    name = _zsh_name(node.path)
    if node.words:
        listed = " ".join(_quoted(f"{word}:{_zsh_text(about)}") for word, about in node.words)
        cases = "\n".join(
            f"        {word}) {_zsh_name((*node.path, word))} ;;" for word, _ in node.words
        )
        return (
            f"{name}() {{\n    local context state line\n    local -a words_here\n"
            f"    words_here=({listed})\n    _arguments -C \\\n" + "\n".join(lines) + "\n"
            "    '(-): :->word' '(-)*:: :->rest'\n    case $state in\n"
            "    word) _describe command words_here ;;\n"
            f"    rest)\n        case $line[1] in\n{cases}\n        esac ;;\n    esac\n}}"
        )
    # An empty list and no empty action: that one would end the search for options, too.
    files = node.takes_files and not node.values
    rest = "_files" if files else f"({' '.join(node.values)})"
    if node.named:
        rest = f" _comfy_aws_names {node.named}"  # the blank keeps zsh from adding words of its own
    lines.append(f"    '*: :{rest}'")
    return f"{name}() {{\n    _arguments \\\n" + "\n".join(lines) + "\n}"


def _zsh_option(option: Option) -> Iterator[str]:
    value = f":value:({' '.join(option.values)})" if option.values else ":value:"
    if option.named:
        value = f":name: _comfy_aws_names {option.named}"
    tail = {"": "", "file": ":file:_files"}.get(option.takes, value)
    for name in option.names:
        equals = "=" if tail and name.startswith("--") else ""
        yield f"*{name}{equals}[{_zsh_text(option.about)}]{tail}"


def _zsh_text(text: str) -> str:
    return text.replace("\\", "").replace("[", "(").replace("]", ")").replace(":", " –")


def _zsh_name(path: tuple[str, ...]) -> str:
    return "_".join(["_comfy_aws", *path]).replace("-", "_")


# -- fish --------------------------------------------------------------------------------------


_FISH: Final = """\
# fish completion for comfy-aws
function __comfy_aws_at # only|any WORD…: whether these are the words so far, or the first of them
    set -l words (string match --invert -- '-*' (commandline -opc)[2..])
    set -l path $argv[2..]
    test (count $words) -ge (count $path); or return 1
    test $argv[1] = any; or test (count $words) -eq (count $path); or return 1
    for i in (seq (count $path))
        test $words[$i] = $path[$i]; or return 1
    end
end
function __comfy_aws_names # FILE: a name a line
    set -l home ~/.comfy-aws
    set -q COMFY_AWS_HOME; and set home $COMFY_AWS_HOME
    test -r $home/names/$argv[1]; and cat $home/names/$argv[1]
end
complete -c comfy-aws -f
"""


def fish(tree: list[Node]) -> str:
    """One line a word and an option, each for the place where it may stand."""
    lines = []
    for node in tree:
        kind = "only" if node.words else "any"
        here = f"complete -c {PROGRAM} -n {_quoted(' '.join(['__comfy_aws_at', kind, *node.path]))}"
        lines += [f"{here} -a {word} -d {_quoted(about)}" for word, about in node.words]
        if node.values:
            lines.append(f"{here} -a {_quoted(' '.join(node.values))}")
        if node.named:
            lines.append(f"{here} -a '(__comfy_aws_names {node.named})'")
        if node.takes_files:
            lines.append(f"{here} -F")
        lines += [_fish_option(here, option) for option in node.options]
    return _FISH + "\n".join(lines) + "\n"


def _fish_option(here: str, option: Option) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = {"": "", "file": " -r -F"}.get(option.takes, " -x")
    if option.values:
        value = f" -x -a {_quoted(' '.join(option.values))}"
    if option.named:
        value = f" -x -a '(__comfy_aws_names {option.named})'"
    return f"{here} {names}{value} -d {_quoted(option.about)}"


_SCRIPTS: Final = {"bash": bash, "zsh": zsh, "fish": fish}
