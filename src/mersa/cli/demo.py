"""The verb that opens the web page."""

from typing import Annotated

import typer

from mersa.cli.options import Device, Model, Quiet


def demo(
    model: Model,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen at.")] = 7860,
    transcribe: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Hear words by this model of faster-whisper, as small."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the words to hear, as en; default: heard.")
    ] = None,
    longest: Annotated[
        float, typer.Option(min=0.1, metavar="MINUTES", help="Longest recording that is taken.")
    ] = 60.0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Open a web page for one recording at a time; nothing that is sent is kept.

    It can be reached from this machine alone; for others there is mersa serve --ui, with a token.
    """
    import signal
    from importlib.util import find_spec

    from mersa.errors import ConfigError, MissingExtraError

    if not find_spec("gradio"):
        raise MissingExtraError("demo", "the web page")

    if language is not None and transcribe is None:
        raise ConfigError("--language goes with --transcribe, which is not given; leave it out")

    from mersa.demo.card import shown
    from mersa.demo.local import LocalJudge
    from mersa.demo.open import launch_page, uploads_removed
    from mersa.demo.page import make_page
    from mersa.recognize.recognizer import Recognizer
    from mersa.recognize.transcribe import FasterWhisper

    recognizer = Recognizer.from_pretrained(model, device=device)
    transcriber = None
    if transcribe is not None:
        transcriber = FasterWhisper(transcribe, language=language, device=device)
    judge = LocalJudge(recognizer, transcriber=transcriber, longest_s=longest * 60)
    with uploads_removed():
        page = make_page(judge, card=shown(recognizer.card))
        url = launch_page(page, port=port)
        if not quiet:
            typer.echo(f"listening at {url}; stop with Ctrl-C", err=True)
        # Ended as by Ctrl-C, so that what was sent is removed then too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        page.block_thread()
