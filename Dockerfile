# Ostinato: API, engine and worker in one image; the command says which. Which build of PyTorch is in it:
#   docker build -t ostinato --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# takes the builds for processors alone (a quarter of the size). For a CUDA of your choice:
#   docker build -t ostinato --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# and run it with `--gpus all`. Without the argument PyTorch comes from the default package index, which on Linux brings
# CUDA along and runs without a GPU too.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

ARG TORCH_INDEX=
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PATH=/opt/ostinato/bin:$PATH

WORKDIR /srv/ostinato
COPY requirements.lock ./
RUN python3 -m venv /opt/ostinato \
 && PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" /opt/ostinato/bin/pip install --quiet -r requirements.lock

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app app
COPY models models
RUN /opt/ostinato/bin/pip install --quiet --no-deps . \
 && /opt/ostinato/bin/python -m compileall -q /opt/ostinato/lib/python3*/site-packages/app \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ostinato \
 && mkdir -p /data && chown ostinato:ostinato /data && rm -rf /srv/ostinato/app /srv/ostinato/models

USER ostinato
WORKDIR /data
VOLUME /data
ENV OSTINATO_HOST=0.0.0.0 OSTINATO_PORT=8000 OSTINATO_DATA_DIR=/data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/readyz' % os.environ['OSTINATO_PORT'], timeout=3)"]
ENTRYPOINT ["ostinato"]
CMD ["up"]
