# One small image for every role: the static binary, CA certificates for rediss://, and nothing else. There is no shell, so health
# checks call the binary itself: `drydock healthcheck URL` (see docker-compose.yml; the port differs by role).

FROM golang:1.26-alpine AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOCACHE=/cache/build GOMODCACHE=/cache/mod
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/cache go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/cache \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/drydock ./cmd/drydock

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/drydock /drydock
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/drydock"]
CMD ["--help"]
