#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Talks to any Ballast server by gRPC reflection alone, without protos: a small grpcurl.

  reflect.py HOST:PORT                          list services
  reflect.py HOST:PORT SERVICE                  list its methods
  reflect.py HOST:PORT SERVICE/METHOD [JSON..]  call it; each JSON is one request, {} if none is given
  reflect.py HOST:PORT MESSAGE                  show the fields of a message

Replies are printed as JSON, one after another. Every call but GetCluster and those of gRPC itself
needs the cluster id: --header 'ballast-cluster-id: UUID', or --cluster HOST:PORT of shardctl, which
is then asked for it. Needs Debian's python3-grpcio and python3-protobuf.
"""

import argparse
import os
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

REFLECTION = "grpc.reflection.v1alpha"
HEALTH = "grpc.health.v1"
CLUSTER_ID_METADATA = "ballast-cluster-id"
TYPE = descriptor_pb2.FieldDescriptorProto


def _message_class(pool, name):
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and later
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _add_message(file, name, *fields):
    """Fields are (name, number, type, repeated); a type that is text names a message."""
    message = file.message_type.add(name=name)
    for field, number, kind, repeated in fields:
        added = message.field.add(
            name=field, number=number,
            label=TYPE.LABEL_REPEATED if repeated else TYPE.LABEL_OPTIONAL,
            type=TYPE.TYPE_MESSAGE if isinstance(kind, str) else kind)
        if isinstance(kind, str):
            added.type_name = f".{file.package}.{kind}"


def _add_reflection_protocol(pool):
    """The messages of the reflection service that this program uses; they are the one thing that
    cannot be had by reflection."""
    file = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package=REFLECTION)
    _add_message(file, "ServerReflectionRequest",
                 ("file_by_filename", 3, TYPE.TYPE_STRING, False),
                 ("file_containing_symbol", 4, TYPE.TYPE_STRING, False),
                 ("list_services", 7, TYPE.TYPE_STRING, False))
    _add_message(file, "FileDescriptorResponse",
                 ("file_descriptor_proto", 1, TYPE.TYPE_BYTES, True))
    _add_message(file, "ServiceResponse", ("name", 1, TYPE.TYPE_STRING, False))
    _add_message(file, "ListServiceResponse", ("service", 1, "ServiceResponse", True))
    _add_message(file, "ErrorResponse",
                 ("error_code", 1, TYPE.TYPE_INT32, False),
                 ("error_message", 2, TYPE.TYPE_STRING, False))
    _add_message(file, "ServerReflectionResponse",
                 ("file_descriptor_response", 4, "FileDescriptorResponse", False),
                 ("list_services_response", 6, "ListServiceResponse", False),
                 ("error_response", 7, "ErrorResponse", False))
    # Fields of a oneof tell "set to empty" from "not set", which list_services needs.
    request = file.message_type[0]
    request.oneof_decl.add(name="message_request")
    for field in request.field:
        field.oneof_index = 0
    pool.Add(file)


def _add_health_protocol(pool):
    """gRPC's own health service, which C++ servers offer but do not describe."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package=HEALTH, syntax="proto3")
    _add_message(file, "HealthCheckRequest", ("service", 1, TYPE.TYPE_STRING, False))
    _add_message(file, "HealthCheckResponse", ("status", 1, "ServingStatus", False))
    status = file.message_type[1].field[0]
    status.type = TYPE.TYPE_ENUM
    enum = file.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        enum.value.add(name=name, number=number)
    service = file.service.add(name="Health")
    service.method.add(name="Check", input_type=f".{HEALTH}.HealthCheckRequest",
                       output_type=f".{HEALTH}.HealthCheckResponse")
    pool.Add(file)


class Reflection:
    """One server's services, learned from itself."""

    def __init__(self, address, seconds):
        self.channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self.pool = descriptor_pool.DescriptorPool()
        self._seconds = seconds
        self._files = set()
        _add_reflection_protocol(self.pool)
        _add_health_protocol(self.pool)
        self._request = _message_class(self.pool, f"{REFLECTION}.ServerReflectionRequest")
        self._response = _message_class(self.pool, f"{REFLECTION}.ServerReflectionResponse")

    def services(self):
        return sorted(s.name for s in self._ask(list_services="").list_services_response.service)

    def learn(self, symbol):
        """Fetches the file that defines a symbol, and those it imports."""
        if not symbol.startswith((REFLECTION, HEALTH)):
            self._add(self._ask(file_containing_symbol=symbol))

    def call(self, service, method, requests, metadata):
        """Yields the replies. On the wire a single message is a stream of one."""
        descriptor = self.pool.FindServiceByName(service).methods_by_name.get(method)
        if descriptor is None:
            raise KeyError(f"{service} has no method {method}")
        request = _message_class(self.pool, descriptor.input_type.full_name)
        messages = [json_format.Parse(text, request()) for text in requests]
        invoke = self.channel.stream_stream(
            f"/{service}/{method}", lambda message: message.SerializeToString(),
            _message_class(self.pool, descriptor.output_type.full_name).FromString)
        return invoke(iter(messages), timeout=self._seconds, metadata=metadata)

    def _ask(self, **question):
        invoke = self.channel.stream_stream(
            f"/{REFLECTION}.ServerReflection/ServerReflectionInfo",
            lambda message: message.SerializeToString(), self._response.FromString)
        reply = next(invoke(iter([self._request(**question)]), timeout=self._seconds))
        if reply.HasField("error_response"):
            raise KeyError(reply.error_response.error_message)
        return reply

    def _add(self, reply):
        """Adds files to the pool, imported ones before those that import them."""
        for data in reversed(reply.file_descriptor_response.file_descriptor_proto):
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            if file.name in self._files:
                continue
            self._files.add(file.name)
            for name in file.dependency:
                if name not in self._files:
                    self._add(self._ask(file_by_filename=name))
            self.pool.Add(file)


def describe(reflection, symbol):
    """Lines about a service or a message."""
    reflection.learn(symbol)
    try:
        service = reflection.pool.FindServiceByName(symbol)
    except KeyError:
        proto = descriptor_pb2.DescriptorProto()
        reflection.pool.FindMessageTypeByName(symbol).CopyToProto(proto)
        for field in proto.field:
            kind = field.type_name.lstrip(".") or TYPE.Type.Name(field.type)[5:].lower()
            many = "repeated " if field.label == TYPE.LABEL_REPEATED else ""
            yield f"{field.name}: {many}{kind}"
        return
    for method in service.methods:
        proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(proto)
        ask = ("stream " if proto.client_streaming else "") + method.input_type.full_name
        answer = ("stream " if proto.server_streaming else "") + method.output_type.full_name
        yield f"{symbol}/{method.name}({ask}) returns ({answer})"


def run(arguments):
    reflection = Reflection(arguments.address, arguments.timeout)
    if not arguments.symbol:
        print("\n".join(reflection.services()))
        return
    if "/" not in arguments.symbol:
        print("\n".join(describe(reflection, arguments.symbol)))
        return
    metadata = [tuple(part.strip() for part in header.split(":", 1)) for header in arguments.header]
    if arguments.cluster:
        shardctl = Reflection(arguments.cluster, arguments.timeout)
        shardctl.learn("ballast.v1.ShardControl")
        cluster = next(shardctl.call("ballast.v1.ShardControl", "GetCluster", ["{}"], ()))
        metadata.append((CLUSTER_ID_METADATA, cluster.cluster_id))
    service, method = arguments.symbol.split("/", 1)
    reflection.learn(service)
    for reply in reflection.call(service, method, arguments.json or ["{}"], metadata):
        print(json_format.MessageToJson(reply, including_default_value_fields=True,
                                        preserving_proto_field_name=True,
                                        descriptor_pool=reflection.pool))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("symbol", nargs="?", metavar="SERVICE[/METHOD]")
    parser.add_argument("json", nargs="*", metavar="JSON")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--cluster", default=os.environ.get("BALLAST_CLUSTER", ""),
                        metavar="HOST:PORT", help="shardctl, asked for the cluster id (BALLAST_CLUSTER)")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS")
    arguments = parser.parse_args()
    if any(":" not in header for header in arguments.header):
        parser.error("--header: 'NAME: VALUE'")
    run(arguments)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        print(f"reflect.py: {error.code().name}: {error.details()}", file=sys.stderr)
        sys.exit(1)
    except (KeyError, TypeError, json_format.ParseError) as error:
        print(f"reflect.py: {' '.join(str(error.args[0]).split())}", file=sys.stderr)
        sys.exit(1)
