/** A server (or the cache in front of one) that says "created" before it has seen the content. */
import { expect, test } from "vitest";
import { startRawServer } from "./raw-server.ts";
import { blobSource, connectTo, failureOf } from "./support.ts";

test("a success that comes before all was sent is not believed", async () => {
  let uploads = 0;
  await using server = await startRawServer((socket) => {
    socket.on("data", (data) => {
      const request = data.toString("latin1", 0, 8);
      if (request.startsWith("GET ")) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      else if (request.startsWith("HEAD "))
        socket.write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
      else if (request.startsWith("POST ")) {
        socket.write("HTTP/1.1 202 Accepted\r\nlocation: /v2/a/blobs/uploads/1\r\ncontent-length: 0\r\n\r\n");
      } else if (request.startsWith("PUT ")) {
        uploads += 1;
        // Nothing more is read, so that most of the content cannot even be sent.
        socket.pause();
        socket.write("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");
      }
    });
  });
  await using watched = connectTo(server.host, { plainHttp: true });
  const error = await failureOf(watched.repository("a").push(blobSource(Buffer.alloc(48 * 1024 * 1024))));
  expect(error.code).toBe("NETWORK");
  expect(uploads).toBeGreaterThan(1);
});
