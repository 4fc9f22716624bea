"""A stand-in for a server with a vision-language model, on this machine."""

import http.server
import json
import threading


class Server:
    """Answers the questions in turn with texts, codes, or after a wait; the last one goes on."""

    def __init__(self):
        self.answers, self.asked, self.headers = [], [], []
        self.release = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                outer.asked.append((self.path, json.loads(self.rfile.read(length))))
                outer.headers.append(dict(self.headers))
                answers = outer.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer == "slow":
                    outer.release.wait(20)
                    return
                if isinstance(answer, tuple):
                    self.send_response(answer[0])
                    for name, value in answer[1].items():
                        self.send_header(name, value)
                    self.end_headers()
                    return
                if isinstance(answer, bytes):
                    body = answer
                else:
                    body = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
