"""python3's file server behind TLS, with a certificate that it signs itself: https_server.py PORT."""

import http.server
import ssl
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-out", certificate, "-keyout", key],
        check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"Serving HTTPS on 127.0.0.1 port {sys.argv[1]} (https://localhost:{sys.argv[1]}/) ...", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
