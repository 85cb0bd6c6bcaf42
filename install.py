"""The WebUI's installer hook, run as a process of its own at every start.

Adds the small packages that are missing and nothing else: torch, numpy, OpenCV, Pillow, gradio and whatever else the
WebUI brings are never installed, changed or upgraded here. Whatever goes wrong is said and never fails the start.
"""

import importlib.util

# module to look for -> what to install. facexlib comes without its dependencies: they would move the WebUI's own
# torch, numpy and OpenCV; what it imports of them is there already or listed here.
MISSING = {
    "safetensors": ["safetensors"],
    "tqdm": ["tqdm"],
    "filelock": ["filelock"],
    "platformdirs": ["platformdirs"],
    "tifffile": ["--no-deps", "tifffile"],
    "facexlib": ["--no-deps", "facexlib"],
}


def main():
    import launch

    for module, requirement in MISSING.items():
        try:
            if importlib.util.find_spec(module) is None:
                launch.run_pip(f"install {' '.join(requirement)}", f"Face Restore: {module}")
        except Exception as error:  # the WebUI must start whatever pip says
            print(f"Face Restore: {module} could not be installed ({error}). Run: pip install {' '.join(requirement)}")


try:
    main()
except Exception as error:
    print(f"Face Restore: nothing was installed ({error}).")
