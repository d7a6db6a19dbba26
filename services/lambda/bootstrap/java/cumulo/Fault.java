package cumulo;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An error of the function's set-up, in the words that the caller is to see. */
final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;

    final String kind;
    final String trace;
    /** Whether the environment ends with it. */
    final boolean isFatal;

    Fault(String message) {
        this(message, null, false);
    }

    Fault(String message, Throwable cause, boolean isFatal) {
        super(message);
        kind = cause == null ? null : cause.getClass().getName();
        trace = cause == null ? null : trace(cause);
        this.isFatal = isFatal;
    }

    static Fault of(Throwable error, boolean isFatal) {
        return error instanceof Fault ? (Fault) error : new Fault(message(error), error, isFatal);
    }

    static String message(Throwable error) {
        return error.getLocalizedMessage() == null ? error.getClass().getName() : error.getLocalizedMessage();
    }

    /** An error as the caller gets it. */
    static Map<String, Object> shown(Throwable error) {
        Map<String, Object> shown = new LinkedHashMap<>();
        shown.put("errorMessage", message(error));
        if (error instanceof Fault) {
            if (((Fault) error).kind != null) shown.put("errorType", ((Fault) error).kind);
            return shown;
        }
        shown.put("errorType", error.getClass().getName());
        List<String> frames = new ArrayList<>();
        for (StackTraceElement frame : cut(error).getStackTrace()) frames.add(frame.toString());
        shown.put("stackTrace", frames);
        return shown;
    }

    /** An error as the log gets it. */
    static String logged(Throwable error) {
        if (error instanceof Fault && ((Fault) error).kind == null) return error.getMessage() + "\n";
        String kind = error instanceof Fault ? ((Fault) error).kind : error.getClass().getName();
        return message(error) + ": " + kind + "\n" + (error instanceof Fault ? ((Fault) error).trace : trace(error)) + "\n";
    }

    private static String trace(Throwable error) {
        StringWriter out = new StringWriter();
        cut(error).printStackTrace(new PrintWriter(out, true));
        return out.toString();
    }

    /** Takes our own frames, and those by which we call, off an error and its causes. */
    static Throwable cut(Throwable error) {
        Throwable cause = error;
        for (int depth = 0; cause != null && depth < 100; depth++, cause = cause.getCause()) {
            StackTraceElement[] frames = cause.getStackTrace();
            int end = 0;
            while (end < frames.length && !frames[end].getClassName().startsWith("cumulo.")) end++;
            if (end == frames.length) continue;
            while (end > 0 && isReflection(frames[end - 1].getClassName())) end--;
            cause.setStackTrace(java.util.Arrays.copyOf(frames, end));
        }
        return error;
    }

    private static boolean isReflection(String name) {
        return name.startsWith("java.lang.reflect.") || name.startsWith("jdk.internal.reflect.") || name.startsWith("sun.reflect.")
                || name.startsWith("java.lang.invoke.");
    }
}
