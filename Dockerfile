# siVAE's command line, on the CPU. Made from the wheel:
#
#   make build
#   docker build -t sivae .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" sivae fit cells.h5ad -o run
#
# The default build of PyTorch for Linux brings CUDA. For a small image put its wheel for the CPU (torch-*+cpu-*.whl,
# of the version below and Python 3.11) into dist/, or name the index that has it: --build-arg TORCH_INDEX=ADDRESS.
FROM python:3.11-slim

ARG TORCH=2.13.0
ARG TORCH_INDEX=""

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba

COPY dist/ /tmp/dist/
RUN python -m pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --find-links /tmp/dist "torch==$TORCH" \
    && python -m pip install "torch==$TORCH" "$(echo /tmp/dist/sivae_tools-*.whl)[demo]" \
    && sivae --version \
    && rm -rf /tmp/dist /tmp/matplotlib /tmp/numba

RUN useradd --create-home --uid 1000 sivae \
    && mkdir /data \
    && chown sivae /data
USER sivae
WORKDIR /data

ENTRYPOINT ["sivae"]
CMD ["--help"]
