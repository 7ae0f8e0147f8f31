"""Writes what is documented from the source: docs/api.md, docs/commands.md, the READMEs' commands.

    .venv/bin/python tools/reference.py [--check]

docs/api.md comes from docs/openapi.yaml, the commands from the parser of `comfy-aws`.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from comfy_aws import cli  # noqa: E402

START, END = "<!-- commands: written by tools/reference.py -->", "<!-- end of commands -->"
HEADS = {
    "README.md": "| command | what it does |",
    "README.ja.md": "| コマンド | 内容 |",
    "README.zh.md": "| 命令 | 作用 |",
}
# What topics are about, in the README's other languages; English stands where nothing does.
ABOUT: dict[str, dict[str, str]] = {
    "README.md": {},
    "README.ja.md": {
        "deploy": "AWS 上のスタックを作成・変更する（バケット、ロール、イメージ、アラームなど）",
        "update": "既存のスタックをこの版の拡張機能に合わせ、オプションを変更する",
        "status": "AWS 上のスタックを表示する。なければ終了コード 1",
        "destroy": "スタックを削除する。バケットは残る",
        "iam-policy": "自前のロールに必要な最小のポリシーを出力する",
        "doctor": "AWS で必要なものをすべて試し、失敗ごとに対処法を示す",
        "stack": "ローカルスタックの起動、停止、確認",
        "template": "公開したワークフローとそのバージョン",
        "run": "テンプレートを AWS で実行し、結果のファイルを受け取る",
        "cancel": "ジョブに停止を求める",
        "endpoint": "SageMaker エンドポイントの作成、一覧、待機、削除",
        "jobs": "どの ComfyUI から送られたものも含む最近のジョブ",
        "cost": "ジョブの費用の見積もりと、インスタンスの価格",
        "models": "このマシンとバケットのモデル",
        "logs": "デザイナー、エンドポイント、ジョブのログ",
        "port": "推論ポート: すべての実行が AWS で行われるアーティスト向けの ComfyUI",
        "deps": "プロンプトに必要なものの一覧。足りなければ終了コード 1",
        "completion": "シェルの補完",
    },
    "README.zh.md": {
        "deploy": "创建或更改 AWS 上的堆栈：存储桶、角色、工作器镜像、告警、设计器",
        "update": "使现有堆栈与本扩展的版本一致，并更改其选项",
        "status": "显示 AWS 上的堆栈；没有时退出码为 1",
        "destroy": "删除堆栈，保留存储桶",
        "iam-policy": "为自备的角色输出最小权限策略",
        "doctor": "逐项尝试 AWS 上所需的一切，并为每个问题给出解决办法",
        "stack": "启动、停止和查找本地堆栈",
        "template": "已发布的工作流及其版本",
        "run": "在 AWS 上运行模板并取回结果文件",
        "cancel": "请求停止一个任务",
        "endpoint": "创建、列出、等待和删除 SageMaker 端点",
        "jobs": "最近的任务，无论由哪个 ComfyUI 发出",
        "cost": "任务费用的估算，以及实例价格",
        "models": "本机和存储桶中的模型",
        "logs": "设计器、端点或任务的日志",
        "port": "推理端口：供艺术家使用的 ComfyUI，每次运行都在 AWS 上",
        "deps": "列出提示词图所需的内容；缺少时退出码为 1",
        "completion": "命令行补全",
    },
}
METHODS = ("get", "post", "put", "patch", "delete")


# -- commands ----------------------------------------------------------------------------------


class Command(NamedTuple):
    """One command: its words behind `comfy-aws`, its parser and its line of help."""

    words: tuple[str, ...]
    parser: argparse.ArgumentParser
    about: str


def commands() -> list[Command]:
    return list(_commands(cli._parser(), ()))


def _commands(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[Command]:
    for choices in _choices(parser):
        about = {each.dest: each.help or "" for each in choices._choices_actions}
        for name, inner in choices.choices.items():
            if any(_choices(inner)):
                yield from _commands(inner, (*words, name))
            # A group may be a command, too, as one that lists what its commands are about.
            if inner.get_default("run"):
                yield Command((*words, name), inner, about[name])


def _choices(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction[Any]]:
    return [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]


def readme_table(readme: str) -> str:
    """One row a topic, with its commands."""
    english = {each.dest: each.help or "" for each in _choices(cli._parser())[0]._choices_actions}
    about = {topic: ABOUT[readme].get(topic, text) for topic, text in english.items()}
    inner: dict[str, list[str]] = {topic: [] for topic in about}
    for command in commands():
        inner[command.words[0]] += command.words[1:]
    rows = [HEADS[readme], "|---|---|"]
    for topic, names in inner.items():
        listed = ": " + ", ".join(f"`{name}`" for name in names) if names else ""
        rows.append(f"| `comfy-aws {topic}`{listed} | {_escaped(about[topic])} |")
    return "\n".join(rows)


def commands_page() -> str:
    parts = [
        "# Commands\n",
        "<!-- Written by tools/reference.py from the parser of the command line. -->\n",
        "`--help` stands behind every command; `--json` prints JSON instead of lines.\n",
        textwrap.fill(_line(cli._parser().epilog or ""), 100) + "\n",
    ]
    for command in commands():
        parts.append(f"## comfy-aws {' '.join(command.words)}\n")
        parts.append(_sentence(command.about) + "\n")
        rows = [row for row in map(_argument, command.parser._actions) if row]
        if rows:
            parts += ["| argument | |", "|---|---|", *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


def _argument(action: argparse.Action) -> str:
    if action.dest in ("help", "json") or isinstance(action, argparse._SubParsersAction):
        return ""
    value = action.metavar or action.dest.upper()
    if isinstance(value, tuple):
        value = " ".join(value)
    if action.choices:
        value = "|".join(map(str, action.choices))
    if not action.option_strings:
        optional = action.nargs in ("?", "*")
        name = f"[{value}]" if optional else str(value)
    else:
        name = ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {value}")
    # argparse itself fills in %(default)s and its like; Python 3.10 adds one to --x/--no-x.
    about = (action.help or "").removesuffix(" (default: %(default)s)")
    text = about % {**vars(action), "prog": "comfy-aws"}
    return f"| `{_escaped(name)}` | {_escaped(text)} |"


# -- routes ------------------------------------------------------------------------------------


def api_page() -> str:
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
    parts = [
        "# API\n",
        "<!-- Written by tools/reference.py from docs/openapi.yaml. -->\n",
        document["info"]["description"].strip() + "\n",
        "The whole document is [openapi.yaml](openapi.yaml), served as `/aws/openapi.json`.\n",
    ]
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n")
        parts.append(tag["description"].strip() + "\n")
        for path, item in document["paths"].items():
            for method in METHODS:
                if tag["name"] in item.get(method, {}).get("tags", []):
                    shared = item.get("parameters", [])
                    parts += _operation(document, method, path, item[method], shared)
    parts.append("## Schemas\n")
    for name, schema in document["components"]["schemas"].items():
        parts += _schema(document, name, schema)
    return "\n".join(parts).rstrip() + "\n"


def _operation(
    document: Any, method: str, path: str, operation: Any, shared: list[Any]
) -> list[str]:
    parts = [f"### {method.upper()} {path}\n", operation["summary"].strip() + "\n"]
    if text := operation.get("description", "").strip():
        parts.append(text + "\n")
    for each in [*shared, *operation.get("parameters", [])]:
        named = _resolved(document, each)
        text = _line(named.get("description", ""))
        parts.append(f"- `{named['name']}` in {named['in']}, {_type(named['schema'])}{_told(text)}")
    if parts[-1].startswith("- "):
        parts.append("")
    body = _resolved(document, operation.get("requestBody", {})).get("content", {})
    for kind, content in body.items():
        parts.append(f"Body, `{kind}`: {_type(content.get('schema', {}))}\n")
        parts += _fields(document, content.get("schema", {}))
    for status, answer in operation["responses"].items():
        if status == "default":
            continue
        found = _resolved(document, answer)
        types = [_type(each.get("schema", {})) for each in found.get("content", {}).values()]
        text = f" {types[0]}." if types else ""
        parts.append(f"Answer {status}:{text} {_line(found.get('description', ''))}\n")
        for content in found.get("content", {}).values():
            parts += _fields(document, content.get("schema", {}))
    return parts


def _schema(document: Any, name: str, schema: Any) -> list[str]:
    text = schema.get("description", "").strip()
    parts = [f"### {name}\n", *([text + "\n"] if text else [])]
    fields = _fields(document, schema)
    if not fields:
        parts.append(f"{_type(schema)}\n")
    return parts + fields


def _fields(document: Any, schema: Any) -> list[str]:
    """The properties of an object that is described in its place; one named has a heading."""
    merged = dict(schema.get("properties", {}))
    required = set(schema.get("required", []))
    for part in schema.get("allOf", []):
        found = _resolved(document, part)
        merged |= found.get("properties", {})
        required |= set(found.get("required", []))
    if not merged:
        return []
    rows = [
        f"| `{name}`{'' if name in required else ' (optional)'} | {_escaped(_type(each))} "
        f"| {_escaped(_line(each.get('description', '')))} |"
        for name, each in merged.items()
    ]
    return ["| field | type | |", "|---|---|---|", *rows, ""]


def _type(schema: Any) -> str:
    """In words, with links to the schemas that have names."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key, joint in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
        if key in schema:
            return joint.join(_type(each) for each in schema[key])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kinds = schema.get("type", "any value")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = [f"array of {_type(schema['items'])}" if k == "array" and "items" in schema else k
             for k in kinds]  # fmt: skip
    return " or ".join(words)


def _resolved(document: Any, value: Any) -> Any:
    if "$ref" not in value:
        return value
    found = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


# -- text --------------------------------------------------------------------------------------


def _line(text: str) -> str:
    return " ".join(text.split())


def _told(text: str) -> str:
    return f": {text}" if text else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def written() -> dict[Path, str]:
    """Every file that is written, with its whole text."""
    pages = {
        ROOT / "docs" / "api.md": api_page(),
        ROOT / "docs" / "commands.md": commands_page(),
    }
    for name in ABOUT:
        head, _, rest = (ROOT / name).read_text(encoding="utf-8").partition(START)
        _, mark, tail = rest.partition(END)
        if not mark:
            raise SystemExit(f"{name} has no lines {START!r} and {END!r}.")
        pages[ROOT / name] = f"{head}{START}\n\n{readme_table(name)}\n\n{END}{tail}"
    return pages


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in written().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"Not up to date: {', '.join(stale)}. Run tools/reference.py.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
