package cumulo;

import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.LinkedHashMap;
import java.util.Map;

/** The function's output: plain lines, and records that stay one event however many lines they have. */
final class Log {
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    private final boolean isJson = "JSON".equals(System.getenv("AWS_LAMBDA_LOG_FORMAT"));
    private final String least = System.getenv("AWS_LAMBDA_LOG_LEVEL");
    private final Lines out = new Lines(FileDescriptor.out);
    private final Lines err = new Lines(FileDescriptor.err);
    private String request;

    /** Takes the place of the standard streams. */
    static Log install() throws IOException {
        Log log = new Log();
        System.setOut(new PrintStream(log.out, true, "UTF-8"));
        System.setErr(new PrintStream(log.err, true, "UTF-8"));
        return log;
    }

    void begin(String request) {
        this.request = request;
    }

    /** Ends what was printed so far. */
    void end() throws IOException {
        System.out.flush();
        System.err.flush();
        out.endLine();
        err.endLine();
    }

    /** The logger of the function's library, which it may also ask for without a context. */
    void offer(ClassLoader loader) {
        try {
            Class<?> runtime = Class.forName("com.amazonaws.services.lambda.runtime.LambdaRuntime", true, loader);
            Field logger = runtime.getDeclaredField("logger");
            logger.setAccessible(true);
            logger.set(null, as(logger.getType()));
        } catch (ReflectiveOperationException | RuntimeException | LinkageError e) {
            // A function without the library, or with one that has it otherwise, prints.
        }
    }

    Object as(Class<?> type) {
        return Context.proxy(type, (proxy, method, arguments) -> {
            if (method.getName().equals("log") && arguments != null && arguments.length > 0) {
                Enum<?> level = arguments.length > 1 && arguments[1] instanceof Enum ? (Enum<?>) arguments[1] : null;
                if (arguments[0] instanceof byte[]) raw(new String((byte[]) arguments[0], StandardCharsets.UTF_8), level);
                else log(String.valueOf(arguments[0]), level);
            }
            return null;
        });
    }

    /** Logs an error of the function. */
    void error(String text) {
        if (isJson) json(text, "ERROR");
        else record(text);
    }

    private void log(String text, Enum<?> level) {
        boolean isPlain = level == null || level.name().equals("UNDEFINED");
        if (!isEnabled(level)) return;
        if (isJson) json(text, isPlain ? "UNDEFINED" : level.name());
        else record(isPlain ? text : "[" + level.name() + "] " + text);
    }

    private void raw(String text, Enum<?> level) {
        if (isEnabled(level)) record(text);
    }

    private boolean isEnabled(Enum<?> level) {
        if (level == null || level.name().equals("UNDEFINED") || least == null) return true;
        for (Object one : level.getDeclaringClass().getEnumConstants()) {
            if (((Enum<?>) one).name().equals(least)) return level.ordinal() >= ((Enum<?>) one).ordinal();
        }
        return true;
    }

    private void json(String text, String level) {
        Map<String, Object> record = new LinkedHashMap<>();
        record.put("timestamp", TIME.format(Instant.now()));
        record.put("message", text);
        record.put("level", level);
        if (request != null) record.put("AWSRequestId", request);
        record(Json.write(record));
    }

    private synchronized void record(String text) {
        try {
            end();
            String line = text.replaceAll("\n+$", "").replace('\n', '\u001e');
            out.write(('\u001e' + line + "\n").getBytes(StandardCharsets.UTF_8));
            out.flush();
        } catch (IOException e) {
            // Nobody reads any more: the environment ends.
        }
    }

    /** A descriptor that knows whether its last line is ended. */
    private static final class Lines extends FilterOutputStream {
        private boolean isOpen;

        Lines(FileDescriptor descriptor) {
            super(new BufferedOutputStream(new FileOutputStream(descriptor), 8192));
        }

        @Override
        public synchronized void write(int b) throws IOException {
            out.write(b);
            isOpen = b != '\n';
        }

        @Override
        public synchronized void write(byte[] data, int from, int length) throws IOException {
            out.write(data, from, length);
            if (length > 0) isOpen = data[from + length - 1] != '\n';
        }

        synchronized void endLine() throws IOException {
            if (isOpen) write('\n');
            flush();
        }
    }
}
