"""Pages of the site that are no files of docs/: the help of the tool, and the changelog. Links to files that are no pages become their
names, and fail the build if there is no such file. See mkdocs.yml."""

import os
import re
import subprocess
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# The pages that describe how h5lake is used.
GUIDE = [f"{name}.md" for name in ("names", "writers", "versions", "transfer", "filters", "from-python", "command-line")]
# The search ranks answers before explanations of the design.
BOOSTS = {"how-to": 8, "how-to/ci.md": 4, "tutorials": 4, "errors.md": 2, **dict.fromkeys(GUIDE, 2), "store-libraries.md": 0.5,
          "store-protocol.md": 0.5, "format.md": 0.5, "design": 0.1, "notes": 0.1, "status.md": 0.1,
          "performance-results.md": 0.1}
LINK = re.compile(r"\[([^\]\n]*(?:\n[^\]\n]*)?)\]\(((?:\.\./)+[^)\s]*)\)")


def help_of(*words):
    """Returns the text of the tool's help."""
    if "H5LAKE_TOOL" not in os.environ:
        raise PluginError("the variable H5LAKE_TOOL does not name the tool: run 'make docs', which builds it")
    return subprocess.run([os.environ["H5LAKE_TOOL"], *words], capture_output=True, text=True, check=True).stdout.rstrip()


def commands():
    """Returns the names of the tool's commands, in the order of its help."""
    return [line.split(",")[0].split()[0] for line in help_of("-h").splitlines()
            if re.match(r"  [a-z][a-z-]+(, [a-z]+)?  +[A-Z]", line)]


def tool_page():
    parts = ["# The tool `h5lake`\n", "Each section is the help of one command: `h5lake help COMMAND`.\n"]
    for command in commands():
        parts.append(f"## {command}\n\n```text\n{help_of('help', command)}\n```\n")
    return "\n".join(parts)


def on_files(files, config):
    changes = (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](../")
    pages = {"reference/tool.md": tool_page(), "reference/changes.md": changes}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    name = page.file.src_uri
    page.meta["search"] = {"boost": BOOSTS.get(name, BOOSTS.get(name.split("/")[0], 1))}
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def checked(link):
        text, target = link.groups()
        path = Path(os.path.normpath(folder / target.split("#")[0]))
        if files.get_file_from_path(os.path.relpath(path, ROOT / "docs")):
            return link[0]
        if not path.exists():
            raise PluginError(f"docs/{page.file.src_uri}: a link leads to {target}, which does not exist")
        return text

    return LINK.sub(checked, markdown)
