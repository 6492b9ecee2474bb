# SPDX-License-Identifier: Apache-2.0
# .proto files become two libraries: messages (cheap to include, no gRPC) and service stubs.

# ballast_protos(MESSAGES lib SERVICES lib FILES a.proto ...)
# Generated headers are included as "protos/a.pb.h" and "protos/a.grpc.pb.h".
function(ballast_protos)
  cmake_parse_arguments(arg "" "MESSAGES;SERVICES" "FILES" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/gen)
  file(MAKE_DIRECTORY ${out})
  find_program(GRPC_PLUGIN grpc_cpp_plugin)
  foreach(file ${arg_FILES})
    string(REPLACE ".proto" "" stem ${file})
    set(base ${out}/protos/${stem})
    add_custom_command(
      OUTPUT ${base}.pb.cc ${base}.pb.h
      COMMAND protobuf::protoc -I${CMAKE_SOURCE_DIR} --cpp_out=${out}
              ${CMAKE_SOURCE_DIR}/protos/${file}
      DEPENDS ${CMAKE_SOURCE_DIR}/protos/${file} COMMENT "protoc ${file}" VERBATIM)
    list(APPEND messages ${base}.pb.cc)
    list(APPEND headers ${base}.pb.h)
    if(file MATCHES "_service.proto$")
      add_custom_command(
        OUTPUT ${base}.grpc.pb.cc ${base}.grpc.pb.h
        COMMAND protobuf::protoc -I${CMAKE_SOURCE_DIR} --grpc_out=${out}
                --plugin=protoc-gen-grpc=${GRPC_PLUGIN} ${CMAKE_SOURCE_DIR}/protos/${file}
        DEPENDS ${CMAKE_SOURCE_DIR}/protos/${file} COMMENT "grpc ${file}" VERBATIM)
      list(APPEND services ${base}.grpc.pb.cc)
      list(APPEND service_headers ${base}.grpc.pb.h)
    endif()
  endforeach()
  add_library(${arg_MESSAGES} STATIC ${messages} ${headers})
  target_include_directories(${arg_MESSAGES} SYSTEM PUBLIC ${out})
  target_link_libraries(${arg_MESSAGES} PUBLIC protobuf::libprotobuf Threads::Threads)
  if(BALLAST_SANITIZE)
    target_compile_options(${arg_MESSAGES} PRIVATE -fsanitize=${BALLAST_SANITIZE})
  endif()
  if(BALLAST_GRPC)
    add_library(${arg_SERVICES} STATIC ${services} ${service_headers})
    target_link_libraries(${arg_SERVICES} PUBLIC ${arg_MESSAGES} gRPC::grpc++)
  endif()
endfunction()
