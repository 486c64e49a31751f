#!/usr/bin/env python3
"""Walks through an example: does what its README says, command by command, and looks at what comes.

    python3 examples/walk.py consolidation

The commands are the lines that begin with `$ ` in the README's `console` blocks; one that ends with `&` stays in the
background. Under each stands what it says, line by line: `…` in a line stands for any text, and alone on a line for any number
of lines. All of it happens in a copy of the example's folder, which is gone afterwards. The exit code is 0 if everything came
as it is written. The tests run this too, so that no README says what isn't so.

`changeover` is the one that CHANGEOVER names, or that was built last in this repository, or the one on the PATH.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

# No command may take longer, and nothing in the background be longer in coming.
PATIENCE = 120


def commands(readme):
    """Each command of the README with the lines that it says should come."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line.strip())
    return found


def pattern(expected):
    """A regular expression for all of what a command says."""
    parts = []
    for line in expected:
        if line == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[ \t]*" + r"[^\n]*".join(re.escape(part) for part in line.split("…")) + r"[ \t]*\n")
    return re.compile("".join(parts))


def binary():
    """The folder of `changeover`."""
    if named := os.environ.get("CHANGEOVER"):
        return pathlib.Path(named).resolve().parent
    built = [HERE.parent / "target" / profile / "changeover" for profile in ("release", "debug")]
    built = sorted((b for b in built if b.exists()), key=lambda b: b.stat().st_mtime)
    on_path = shutil.which("changeover")
    if not built and not on_path:
        sys.exit("There is no `changeover` yet: cargo build --release")
    return built[-1].parent if built else pathlib.Path(on_path).parent


class Walk:
    def __init__(self, folder):
        self.folder = folder
        path = f"{binary()}{os.pathsep}{os.environ.get('PATH', '')}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        self.background = []

    def start(self, command, output):
        return subprocess.Popen(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def step(self, command, expected):
        print(f"$ {command}", flush=True)
        stays = command.endswith("&")
        with tempfile.TemporaryFile() as output:
            process = self.start(command.removesuffix("&"), output)
            if stays:
                self.background.append(process)
            said, wanted = "", pattern(expected)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                ended = process.poll() is not None
                output.seek(0)
                said = output.read().decode()
                if ended or (stays and wanted.fullmatch(said)):
                    break
                time.sleep(0.02)
            print(said, end="", flush=True)
            if not wanted.fullmatch(said):
                sys.exit("\nThat isn't what the README says:\n" + "\n".join(expected))

    def end(self):
        """Ends what is left in the background, as Ctrl-C does; whatever doesn't mind is killed."""
        for process in self.background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in self.background:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main():
    if len(sys.argv) != 2 or not (HERE / sys.argv[1] / "README.md").exists():
        sys.exit(__doc__)
    example = HERE / sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / example.name
        shutil.copytree(example, folder)
        walk = Walk(folder)
        try:
            for command, expected in commands((example / "README.md").read_text()):
                walk.step(command, expected)
        finally:
            walk.end()
    print("\nAll of it came as the README says.")


if __name__ == "__main__":
    main()
