"""The shell of every inspector: controls tied to one picture and its words.

ipywidgets is imported only where an inspector is made, here and in the views: computing and drawing need no notebook.
"""

import base64
import html
import io
import threading
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Inspector:
    """A live inspector: `controls` by name, `read_out` (HTML), `picture`, `box` that holds them, and the `figure`.

    Where the notebook is read without a kernel, its first picture shows in its place.
    """

    box: object
    controls: dict
    read_out: object
    picture: object
    figure: Figure

    def _repr_mimebundle_(self, **_):
        still = base64.b64encode(self.picture.value).decode()
        view = self.box._repr_mimebundle_()
        return view | {"image/png": still, "text/plain": "Run this cell in JupyterLab to move the sliders."}


def inspector(state, compute, draw, words, controls, choose, rows):
    """Tie controls (by name) to one picture and its words.

    compute(state) -> data; draw(data, figure=None) -> figure; words(data) -> HTML; choose(state) -> state reads the
    controls and settles them; rows: names of controls that stand side by side. A ValueError after the first picture
    is shown as the read-out.
    """
    import ipywidgets

    figure = draw(compute(state))
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", width="900px"))
    read_out = ipywidgets.HTML()
    turn, working = threading.RLock(), False  # two threads call: ipykernel 7 takes a control's first event in its main

    def update(_=None):
        nonlocal state, working
        with turn:
            if working:  # a slider that `choose` has moved calls back: one update is enough
                return
            working = True
            try:
                state = choose(state)
                data = compute(state)
                draw(data, figure)
                picture.value, read_out.value = png(figure), words(data)
            except ValueError as error:
                read_out.value = html.escape(str(error))
            finally:
                working = False

    update()
    for control in controls.values():
        control.observe(update, "value")
    wrap = ipywidgets.Layout(flex_flow="row wrap")
    lines = [ipywidgets.HBox([controls[name] for name in names], layout=wrap) for names in rows]
    return Inspector(ipywidgets.VBox([*lines, picture, read_out]), controls, read_out, picture, figure)


def png(figure):
    """The figure as PNG bytes; compression 1, because the student waits for it."""
    buffer = io.BytesIO()
    figure.canvas.print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
