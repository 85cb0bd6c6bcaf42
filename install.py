"""The WebUI's installer hook, run as a process of its own at every start.

Adds the small packages that are missing and nothing else: torch, numpy, OpenCV, Pillow, gradio and all else that the
WebUI brings are never installed, changed or upgraded here. An error is printed and never fails the start, which needs
none of these packages. Where nothing is missing, nothing of the WebUI or of this package is imported.
"""

import importlib.util
import shlex
import subprocess
import sys

# module to look for -> what to install. facexlib and tifffile come without their dependencies: these would move the
# WebUI's own torch, numpy and OpenCV; what they import of them is there already or listed here.
WANTED = {
    "safetensors": ["safetensors"],
    "tqdm": ["tqdm"],
    "filelock": ["filelock"],
    "platformdirs": ["platformdirs"],
    "httpx": ["httpx"],
    "tifffile": ["--no-deps", "tifffile"],
    "facexlib": ["--no-deps", "facexlib"],
}
if sys.version_info < (3, 11):
    WANTED["tomli"] = ["tomli"]


def is_there(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a half removed package has a name and no spec
        return False


def main() -> None:
    """Install what is missing, one by one, so that one failure costs one package only."""
    for module in [name for name in WANTED if not is_there(name)]:
        try:
            install(module, WANTED[module])
        except Exception as error:  # the WebUI must start even where pip fails
            print(f"Face Restore: {module} could not be installed ({error}).")
            print(f"Face Restore: run {sys.executable} -m pip install {' '.join(WANTED[module])}")


def install(module: str, requirement: list[str]) -> None:
    """Let the WebUI's own `launch` run pip, which heeds --skip-install and the mirror; pip itself where it has none."""
    try:
        import launch

        run_pip = launch.run_pip
    except (Exception, SystemExit):  # not every WebUI has it on an installer's path; its import may do much, even exit
        print(f"Installing Face Restore: {module}")
        subprocess.run([sys.executable, "-m", "pip", "install", *requirement], check=True, timeout=600)
        return
    run_pip("install " + " ".join(map(shlex.quote, requirement)), f"Face Restore: {module}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"Face Restore: nothing was installed ({error}).")
