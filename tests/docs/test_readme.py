"""Every command, link and path in the README and the documentation is real."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mypt_jax import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`((?:python|bash|mypt) [^`]+)`")
INDENTED = re.compile(r"^    ((?:python|bash|mypt) .*)$", re.M)


def commands() -> list[tuple[str, str]]:
    """(page, command) for every command line shown."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))  # continued lines
        fenced = "\n".join(body for _, body in FENCE.findall(text))
        lines = [
            line for line in fenced.splitlines() if line.startswith(("python ", "bash ", "mypt "))
        ]
        lines += INLINE.findall(FENCE.sub("", text)) + INDENTED.findall(text)
        found += [(page.name, line.partition("  #")[0].strip()) for line in lines]
    return found


def sources(path: Path) -> str:
    """The text that declares a command's options: its file and the modules beside it."""
    own = path.read_text(encoding="utf-8")
    caller = re.search(r"^from ([\w.]+) import main$", own, re.M)
    if caller:
        own = (ROOT / f"{caller[1].replace('.', '/')}.py").read_text(encoding="utf-8")
    beside = re.findall(r"from (?:data_pipeline|mypt_jax)[\w.]* import ([\w, ]+)", own)
    names = {name.strip() for group in beside for name in group.split(",")}
    modules = [p for top in ("data_pipeline", "mypt_jax") for p in (ROOT / top).rglob("*.py")]
    return own + "".join(p.read_text(encoding="utf-8") for p in modules if p.stem in names)


def config_of(argument: str) -> ConfigDict:
    file, _, size = argument.partition(":")
    path = ROOT / file
    assert path.is_file(), f"{file} does not exist"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("tiny" if size.startswith("runs/") else size or "750m")


def key_of(config: ConfigDict, dotted: str) -> bool:
    node = config
    for key in dotted.split("."):
        if key not in node:
            return False
        node = node[key]
    return True


def check_options(words: list[str], path: Path) -> None:
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    text = sources(path)
    for option in options:
        if not option.startswith("--config.") and path.name != "main.py":
            forms = (f'"{option}"', f"{option})", f"{option}=")
            assert any(form in text for form in forms), f"{path.name} has no option {option}"
    given = next((word for word in words if word.startswith("--config=")), None)
    config = config_of(given.removeprefix("--config=") if given else "configs/v3.py:tiny")
    for option in options:
        if option.startswith("--config."):
            key = option.removeprefix("--config.")
            assert key_of(config, key), f"{option} is no key of the config"


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_exists_with_its_options(page, line):
    words = shlex.split(line)
    if words[:2] == ["python", "-m"]:
        place = ROOT / words[2].replace(".", "/")
        path = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    elif words[0] == "mypt":
        where = cli.COMMANDS[words[1]].where.partition(":")[0] if words[1:] else "mypt_jax.cli"
        path = ROOT / f"{where.replace('.', '/')}.py"
    else:
        path = ROOT / words[1]
    assert path.is_file(), f"{page}: {line}"
    check_options(words[2:], path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_config_keys_that_are_named_exist(page):
    config = config_of("configs/base.py:tiny")
    for key in re.findall(r"--config\.([\w.]+)", page.read_text(encoding="utf-8")):
        if key != "KEY":
            assert key_of(config, key.rstrip(".")), f"{page.name}: --config.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page):
    for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_paths_in_the_readme_s_tables_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Where to change what")[1].split("\n## ")[0]
    paths = re.findall(r"`((?:configs|data_pipeline|mypt_jax|scripts)/[\w./]*)`", section)
    paths += re.findall(r"^    ([\w]+/[\w/]*)", section, re.M)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_stage_table_shows_what_the_configs_hold():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\((configs/\w+\.py)\) (.*)$", text, re.M)
    assert [row[0] for row in rows] == ["base", "v3", "v5", "v7", "v8"]
    for _, file, cells in rows:
        config = config_of(file)
        parent, rate, replay, steps = (c.strip() for c in cells.strip("| ").split("|")[:4])
        assert config.init_from.rpartition("/")[2] == parent
        assert config.optim.peak_lr == pytest.approx(float(rate))
        assert config.data.replay_ratio == float(replay)
        assert config.num_steps == int(steps.replace(",", ""))


def test_messages_of_the_troubleshooting_table_are_the_code_s():
    tops = ("data_pipeline", "mypt_jax", "scripts", "configs")
    files = [path for top in tops for end in ("*.py", "*.sh") for path in (ROOT / top).rglob(end)]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'" ?\\?\n\s*f?"', "", code)  # messages span lines
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Troubleshooting")[1].split("\n## ")[0]
    messages = re.findall(r"^\| `(.+?)` \|", section, re.M)
    assert len(messages) >= 8
    for message in messages:
        # The longest part without names and numbers, which the code fills in.
        fixed = max(re.findall(r"(?<!\S)[a-z]+(?: [a-z]+)*(?!\S)", message), key=len)
        assert len(fixed) > 10 and fixed in code, message


def test_the_exit_codes_of_the_readme_are_those_of_the_code():
    from mypt_jax import exits
    from mypt_jax.chain import process

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    signals = {code for code in process.MEANING if code > 128}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    kinds = [k for k in vars(exits).values() if isinstance(k, type)]
    assert listed == {0, 2} | signals | {kind.code for kind in kinds if kind is not exits.RunEnd}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_lock_file_holds_what_the_tests_need_with_hashes(version):
    """Fails after a change of requirements until `bash scripts/lock.sh` was run."""
    locked: dict[str, list[str]] = {}
    text = (ROOT / f"requirements-lock-{version}.txt").read_text()
    for entry in re.findall(r"^\S.*(?:\n +.*)*", text, re.M):
        assert "--hash=sha256:" in entry, entry
        requirement = Requirement(entry.partition("\\")[0].strip())
        (pinned,) = requirement.specifier
        assert pinned.operator == "=="
        locked.setdefault(canonicalize_name(requirement.name), []).append(pinned.version)
    assert not {"torch", "ray", "libtpu"} & set(locked)
    for requirement in wanted("requirements-test.txt"):
        versions = locked[canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(v) for v in versions), requirement


def wanted(name: str) -> list[Requirement]:
    """The requirements of a file and of those that it takes in."""
    found = []
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            found += wanted(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def test_shell_scripts_parse():
    scripts = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_requirements_have_ranges():
    for path in set(ROOT.glob("requirements*.txt")) - set(ROOT.glob("*-lock-*")):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?[<>=]=?[\w.,<>=]+( *;.*)?", line), line
