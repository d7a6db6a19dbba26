package cumulo;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOError;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Runs a Java handler: reads invocations from the server's socket and answers them. See python/bootstrap.py for the frames.
 *
 * <p>The socket is standard input, for Java opens no other descriptor by its number.
 */
final class Bootstrap {
    private final DataInputStream in = new DataInputStream(new FileInputStream(FileDescriptor.in));
    private final FileOutputStream out = new FileOutputStream(FileDescriptor.in);

    private Bootstrap() {}

    private void send(String kind, byte[] payload) throws IOException {
        send(kind, payload, false);
    }

    private void send(String kind, byte[] payload, boolean isLast) throws IOException {
        byte[] head = ("{\"t\":\"" + kind + "\"" + (isLast ? ",\"last\":true}" : "}")).getBytes(StandardCharsets.UTF_8);
        ByteBuffer frame = ByteBuffer.allocate(8 + head.length + payload.length).order(ByteOrder.LITTLE_ENDIAN);
        frame.putInt(head.length).putInt(payload.length).put(head).put(payload);
        out.write(frame.array());
    }

    private byte[] receive(int length) throws IOException {
        byte[] data = new byte[length];
        in.readFully(data);
        return data;
    }

    private static byte[] json(Object value) {
        return Json.write(value).getBytes(StandardCharsets.UTF_8);
    }

    /** Classes of the function before its libraries before its layers' libraries. */
    private static ClassLoader loader(String task, String opt) throws IOException {
        List<URL> places = new ArrayList<>();
        places.add(new File(task + "/").toURI().toURL());
        for (String folder : new String[] {task + "/lib", opt + "/java/lib"}) {
            File[] jars = new File(folder).listFiles((where, name) -> name.endsWith(".jar"));
            if (jars == null) continue;
            Arrays.sort(jars);
            for (File jar : jars) places.add(jar.toURI().toURL());
        }
        return new URLClassLoader(places.toArray(new URL[0]), ClassLoader.getSystemClassLoader());
    }

    private void run(String task, String opt, String name) throws IOException {
        System.setIn(new ByteArrayInputStream(new byte[0]));
        Log log = Log.install();
        ClassLoader loader = loader(task, opt);
        Thread.currentThread().setContextClassLoader(loader);
        log.offer(loader);
        Handler handler = null;
        Fault missing = null;
        try {
            handler = Handler.load(name, loader);
        } catch (Fault fault) {
            if (fault.isFatal) {
                log.error(Fault.logged(fault));
                send("init_error", json(Fault.shown(fault)));
                Runtime.getRuntime().halt(1);
            }
            // As on AWS, the first invocation says it.
            missing = fault;
        }
        log.end();
        send("ready", new byte[0]);
        while (true) {
            ByteBuffer lengths = ByteBuffer.wrap(receive(8)).order(ByteOrder.LITTLE_ENDIAN);
            Map<?, ?> header = (Map<?, ?>) Json.read(new String(receive(lengths.getInt()), StandardCharsets.UTF_8));
            byte[] payload = receive(lengths.getInt());
            log.begin((String) header.get("id"));
            if (header.get("trace") != null) System.setProperty("com.amazonaws.xray.traceHeader", (String) header.get("trace"));
            else System.clearProperty("com.amazonaws.xray.traceHeader");
            try {
                if (missing != null) throw missing;
                byte[] answer = handler.call(payload, new Context(header, log));
                log.end();
                send("done", answer);
                Thread.interrupted();
            } catch (Throwable error) {
                byte[] shown = json(Fault.shown(error));
                log.error(Fault.logged(error));
                log.end();
                boolean isLast = error instanceof VirtualMachineError || error instanceof IOError;
                send("error", shown, isLast);
                if (isLast) Runtime.getRuntime().halt(1);
            }
        }
    }

    /** {@code task directory, layers' directory, handler}. */
    public static void main(String[] arguments) throws IOException {
        try {
            // No arguments: scripts that start the runtime put options before the last word, which must be the class.
            new Bootstrap().run(System.getenv("LAMBDA_TASK_ROOT"), System.getenv("CUMULO_LAYERS_ROOT"), System.getenv("_HANDLER"));
        } catch (EOFException e) {
            // The server has closed the socket.
            Runtime.getRuntime().halt(0);
        }
    }
}
