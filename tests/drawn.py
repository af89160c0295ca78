"""What was drawn, read back from the artists."""

import itertools

import numpy as np


def points(ax):
    """All points drawn, (n, 2), without the empty handles of the legend."""
    dots = [part for part in ax.collections if hasattr(part, "get_sizes") and not hasattr(part, "set_verts")]
    drawn = [np.asarray(part.get_offsets()) for part in dots]
    return np.concatenate([part for part in drawn if len(part)])


def same_points(found, wanted):
    found, wanted = (np.ascontiguousarray(part, np.float64) for part in (found, wanted))
    assert found.shape == wanted.shape
    assert np.allclose(*(part[np.lexsort(part.T)] for part in (found, wanted)))


def words_apart(texts):
    """Whether no two texts overlap; an annotation's line is not part of its words."""
    texts = [text for text in texts if text.get_text()]
    if not texts:
        return True
    texts[0].figure.canvas.draw()
    renderer = texts[0].figure.canvas.get_renderer()
    boxes = [_words(text).get_window_extent(renderer) for text in texts]
    # Tick labels touch without covering each other.
    inner = [box.padded(-0.5) for box in boxes]
    return not any(a.overlaps(b) for a, b in itertools.combinations(inner, 2))


def _words(text):
    return super(type(text), text) if hasattr(text, "arrow_patch") else text


def all_texts(figure):
    """Every text of a figure that shows something."""
    import matplotlib.text

    return [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]


def written(figure):
    """Every text that is drawn: those of ticks beyond the limits are not."""
    figure.canvas.draw()
    beyond = set()
    for axes in figure.findobj(lambda part: hasattr(part, "get_view_interval") and hasattr(part, "get_major_ticks")):
        low, high = np.sort(axes.get_view_interval()) + np.array([-1e-9, 1e-9])
        hidden = [tick for tick in axes.get_major_ticks() if not low <= tick.get_loc() <= high]
        beyond |= {id(text) for tick in hidden for text in (tick.label1, tick.label2)}
    return [text for text in all_texts(figure) if id(text) not in beyond]


def cut(figure, texts):
    """Those of the texts that reach out of the figure."""
    boxes = [(text.get_text(), _words(text).get_window_extent(figure.canvas.get_renderer())) for text in texts]
    width, height = figure.bbox.width + 1, figure.bbox.height + 1
    return [word for word, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > width or b.y1 > height]


def inside(ax, texts):
    """Whether texts lie within the axes."""
    ax.figure.canvas.draw()
    renderer = ax.figure.canvas.get_renderer()
    frame = ax.get_window_extent(renderer).padded(1)
    boxes = [_words(text).get_window_extent(renderer) for text in texts]
    return all(frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes)
