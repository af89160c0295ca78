"""Of the kernels that run the tutorials: nothing of the reader's own settings, no history, no chatter."""

c = get_config()  # noqa: F821
c.IPKernelApp.log_level = 40
c.HistoryManager.enabled = False
c.InlineBackend.figure_formats = {"retina"}
