"""The completion script of the tool in an interactive bash: commands, options, values of options and names of files. If
the package bash-completion is installed, it finds the script in its folder by the name of the tool."""
# only: h5lake
# needs: tool

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

from cases import main
from tool import run

READY = "ready> "
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")


class Shell:
    """An interactive bash in a terminal, in which the tool is a command."""

    def __init__(self, folder, setup):
        tools = folder / "bin"
        tools.mkdir(exist_ok=True)
        if not (tools / "h5lake").exists():
            (tools / "h5lake").symlink_to(os.environ["TOOL"])
        rc = folder / "rc"
        rc.write_text(f"PS1='{READY}'\nbind 'set enable-bracketed-paste off'\n{setup}\n")
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "500",
               "XDG_DATA_HOME": str(folder / "share")}
        self.terminal, inner = pty.openpty()
        command = ["bash", "--noprofile", "--rcfile", str(rc), "-i"]
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
        os.close(inner)
        self.until(READY)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def until(self, text):
        """Reads the output up to a text."""
        said, end = "", time.monotonic() + 60
        while text not in said:
            assert select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0], said
            said += os.read(self.terminal, 4096).decode()
        return said

    def enter(self, folder):
        os.write(self.terminal, f"cd {folder}\n".encode())
        self.until(f"\n{READY}")

    def completed(self, typed):
        """Returns the words of a command line after the tab key has completed the last one."""
        # Home and printf turn the line into a command that prints its words.
        os.write(self.terminal, f"{typed}\t\x01printf '[%s]' \x05\n".encode())
        return re.findall(r"\[([^]]*)\]", self.until(f"]{READY}").rsplit("\n", 1)[-1])


def completes(shell):
    """Checks words that have one completion."""
    for typed, word in [("mater", "materialize"), ("log --onel", "--oneline"), ("cp --up", "--update"), ("diff --stat --st", "--st"),
                        ("completions fi", "fish"), ("help vac", "vacuum"), ("ls dat", "data/"),
                        # Hidden commands are not completed.
                        ("convert-o", "convert-o")]:
        words = shell.completed(f"h5lake {typed}")
        assert words == ["h5lake", *typed.split()[:-1], word], (typed, words)
    # An empty word is completed with the only file in the folder, and not with options.
    for command in "ls", "ls -l", "cp", "log --graph", "diff --stat", "export --library", "doctor --python":
        words = shell.completed(f"h5lake {command} data/")
        assert words == ["h5lake", *command.split(), "data/run one.h5"], (command, words)
    shell.enter("data")
    for command in "ls", "log --graph", "export --library":
        words = shell.completed(f"h5lake {command} ")
        assert words == ["h5lake", *command.split(), "run one.h5"], (command, words)


def make(folder):
    (folder / "data").mkdir()
    (folder / "data" / "run one.h5").touch()


def check_a_sourced_script(folder):
    make(folder)
    with Shell(folder, "source <(h5lake completions bash)") as shell:
        completes(shell)


def check_a_script_in_the_folder_of_bash_completion(folder):
    if not BASH_COMPLETION.exists():
        return
    make(folder)
    scripts = folder / "share" / "bash-completion" / "completions"
    scripts.mkdir(parents=True)
    (scripts / "h5lake").write_text(run("completions", "bash"))
    with Shell(folder, f"source {BASH_COMPLETION}") as shell:
        completes(shell)


if __name__ == "__main__":
    main(globals())
