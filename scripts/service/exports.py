"""The variables that turn Google's tools and clients to the stand-in: for a shell to read, or in a shell of its own.

gcloud gets a configuration folder inside the state folder, so that the user's own is neither read nor written.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from scripts import process
from scripts.cloud import standin
from scripts.errors import BadInput
from scripts.service import rehearsal
from scripts.service.steps import Talk
from scripts.settings import load, project, terminal
from scripts.settings.model import EnvironmentFile

SHELLS = ("bash", "zsh", "fish")
# gcloud's name of an API → its host behind the proxy, which gcloud writes a region before.
_APIS = {
    "artifactregistry": "artifactregistry", "cloudkms": "cloudkms", "cloudresourcemanager": "cloudresourcemanager",
    "cloudscheduler": "scheduler", "iam": "iam", "logging": "logging", "monitoring": "monitoring", "run": "run",
    "secretmanager": "secretmanager", "serviceusage": "serviceusage",
}  # fmt: skip
_BOTO = "# Written by `./dev invoke local.env`: gsutil hands its work to gcloud.\n[GSUtil]\nuse_gcloud_storage = True\n"


def settings(environment: str) -> EnvironmentFile:
    """The environment whose project and region the tools shall use; by default the one that is rehearsed with."""
    return load.read(environment or load.default_environment() or load.REHEARSAL_SOURCE)


def address() -> str:
    """Where the stand-in answers: the endpoint of a rehearsal, its daemon, or where `local.up` will start it."""
    endpoint = load.rehearsal_endpoint()
    running = None if endpoint else standin.find(rehearsal.folder())
    return endpoint or (running.url if running else f"http://127.0.0.1:{project.port()}")


def variables(described: EnvironmentFile, url: str, folder: Path) -> dict[str, str]:
    """What to export; folder is the state folder, for the files that prepare() writes."""
    proxy = urlsplit(url)
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"http://{host}.gcp.internal/"
                 for api, host in _APIS.items()}  # fmt: skip
    return {
        "MODELSHELF_ENDPOINT": url,
        "STORAGE_EMULATOR_HOST": url,
        "GOOGLE_CLOUD_PROJECT": described.project,
        "HF_ENDPOINT": f"{url}/upstream/huggingface",
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_ACTIVE_CONFIG_NAME": "default",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": described.project,
        "CLOUDSDK_RUN_REGION": described.region,
        "CLOUDSDK_PROXY_TYPE": "http_no_tunnel",
        "CLOUDSDK_PROXY_ADDRESS": proxy.hostname or "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(proxy.port or 80),
        **overrides,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "http://storage.gcp.internal/storage/v1/",
        "CLOUDSDK_STORAGE_PROCESS_COUNT": "1",  # processes take seconds to start, and loopback needs no more
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "true",
        "BOTO_CONFIG": str(folder / "boto.cfg"),
        "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{url}/storage/v1/",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "stand-in",  # Terraform sends it instead of asking for the user's own
    }


def prepare(environment: str) -> dict[str, str]:
    """Write the files that the variables name; the variables. Raises BadInput or NotFound for the environment."""
    folder = project.state_dir()
    (folder / "gcloud").mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "boto.cfg").write_text(_BOTO, encoding="utf-8")
    return variables(settings(environment), address(), folder)


def choose(shell: str) -> str:
    """The shell to write for: the one named, else the user's own, else bash. Raises BadInput for one not known."""
    if not shell:
        own = terminal.shell().name
        return own if own in SHELLS else "bash"
    if shell not in SHELLS:
        raise BadInput(f"--shell: found {shell!r}, expected {', '.join(SHELLS)}", "For example: --shell bash")
    return shell


def script(values: Mapping[str, str], shell: str) -> str:
    """Commands that export the values in a shell, and how to have them read."""
    lines = [_export(name, value, shell) for name, value in values.items()]
    how = "./dev invoke local.env --shell fish | source" if shell == "fish" else 'eval "$(./dev invoke local.env)"'
    return "\n".join([*lines, f"# Type: {how}", "# The stand-in is started by: ./dev invoke local.up", ""])


def open_shell(environment: str, talk: Talk) -> int:
    """Start the stand-in when it does not run, then the user's shell with the variables; the shell's exit code."""
    if load.rehearsal_endpoint() is None:
        rehearsal.up(talk, model=False)
    values = prepare(environment)
    program = terminal.shell()
    argv, more = _start(program, values, project.state_dir() / "shell")
    talk.note(f"{program.name} for project {values['CLOUDSDK_CORE_PROJECT']} on {values['MODELSHELF_ENDPOINT']};"
              " leave it with: exit")  # fmt: skip
    return process.attach([str(program), *argv], env=terminal.environ({**values, **more}))


def _start(program: Path, values: Mapping[str, str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and further variables with which a shell says in its prompt where it is.

    The user's own start-up file is read first: what it exports must not win over the values.
    """
    mark = f"(stand-in:{values['CLOUDSDK_PROXY_PORT']}) "
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if program.name == "bash":
        own = shlex.quote(str(terminal.home() / ".bashrc"))
        text = f'[ ! -f {own} ] || . {own}\n{script(values, "bash")}PS1={shlex.quote(mark)}"$PS1"\n'
        (folder / "bashrc").write_text(text, encoding="utf-8")
        return ["--rcfile", str(folder / "bashrc"), "-i"], {}
    if program.name == "zsh":
        own = shlex.quote(str(terminal.home()))
        text = f"ZDOTDIR={own}\n[[ ! -f {own}/.zshrc ]] || . {own}/.zshrc\n"
        text += f'{script(values, "zsh")}PROMPT={shlex.quote(mark)}"$PROMPT"\n'
        (folder / ".zshenv").write_text(f"[[ ! -f {own}/.zshenv ]] || . {own}/.zshenv\n", encoding="utf-8")
        (folder / ".zshrc").write_text(text, encoding="utf-8")
        return ["-i"], {"ZDOTDIR": str(folder)}
    if program.name == "fish":
        prompt = (
            f"functions -c fish_prompt _own_prompt; function fish_prompt; echo -n {_quoted(mark)}; _own_prompt; end"
        )
        return ["-i", "-C", script(values, "fish") + prompt], {}
    return [], {"PS1": f"{mark}$ "}


def _export(name: str, value: str, shell: str) -> str:
    if shell == "fish":
        return f"set -gx {name} {_quoted(value)}"
    return f"export {name}={shlex.quote(value)}"


def _quoted(value: str) -> str:
    """For fish: within single quotes only the backslash and the quote itself mean something."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
