# segcct in a container: docs/how-to/docker.md
#   docker build -t segcct .
#   docker build -t segcct:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url ${TORCH_INDEX}

COPY pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md /src/
COPY segcct /src/segcct
RUN pip install --no-cache-dir "/src[demo,share,dicom,export]" && rm -r /src

# With --user, the container has neither a home nor a name of its own.
ENV HOME=/tmp USER=segcct
WORKDIR /work
ENTRYPOINT ["segcct"]
CMD ["--help"]
