# syntax=docker/dockerfile:1
#
#   docker build --target cpu -t recon:cpu .
#   docker build --target gpu -t recon:gpu .
#
# Both are installed by scripts/bootstrap.sh, as a checkout is. pip's usual environment variables can be given as
# build arguments; PyTorch's CPU wheels, for example, keep the CUDA libraries out of the image cpu.
#
# The image gpu contains nvdiffrast, which NVIDIA licenses for research and evaluation only. The text of that licence
# is inside, in the folder diffrp_nvdiffrast-*.dist-info of the environment; passing the image on is a redistribution.

FROM python:3.11-slim-bookworm AS cpu
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /opt/recon
COPY requirements.lock ./
COPY scripts/bootstrap.sh scripts/
RUN scripts/bootstrap.sh run && rm -rf /var/lib/apt/lists/*
COPY . .
RUN .venv/bin/python -m compileall -q pipeline && useradd --uid 1000 --create-home recon
USER recon
WORKDIR /home/recon
ENTRYPOINT ["/opt/recon/scripts/recon"]
CMD ["--help"]


# The compiler stays behind in this stage.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS gpu-build
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0;10.0;12.0"
ENV PIP_NO_CACHE_DIR=1 DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends build-essential python3-dev python3-venv
WORKDIR /opt/recon
COPY requirements.lock ./
COPY scripts/bootstrap.sh scripts/
RUN scripts/bootstrap.sh run
RUN .venv/bin/python -m pip install diffrp-nvdiffrast==0.3.3.1 ninja==1.13.2
# nvdiffrast compiles itself at its first use; that needs no GPU, so it is done here rather than in every container.
# Its loader imports the compiled plugin by name, hence the copy to where Python looks.
ENV TORCH_EXTENSIONS_DIR=/opt/recon/.venv/torch_extensions PATH=/opt/recon/.venv/bin:$PATH
RUN .venv/bin/python <<'SCRIPT'
import pathlib, shutil, sysconfig
from nvdiffrast.torch.ops import _get_plugin

try:
    _get_plugin()
except ModuleNotFoundError:
    (plugin,) = pathlib.Path("/opt/recon/.venv/torch_extensions").rglob("nvdiffrast_plugin*.so")
    shutil.copy(plugin, sysconfig.get_path("platlib"))
    _get_plugin()
SCRIPT


FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS gpu
ENV PYTHONUNBUFFERED=1 TORCH_EXTENSIONS_DIR=/opt/recon/.venv/torch_extensions
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libgomp1 python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/recon
COPY --from=gpu-build /opt/recon/.venv .venv
COPY . .
# Ubuntu's image comes with a user 1000 of its own.
RUN .venv/bin/python -m compileall -q pipeline \
 && (userdel --remove ubuntu || true) \
 && useradd --uid 1000 --create-home recon
USER recon
WORKDIR /home/recon
ENTRYPOINT ["/opt/recon/scripts/recon"]
CMD ["--help"]
