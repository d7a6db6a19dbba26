package cumulo;

import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON as maps, lists, strings, numbers and booleans. */
final class Json {
    /** Levels of nesting that are followed. */
    static final int DEEPEST = 1000;

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    /** Reads one value. */
    static Object read(String text) {
        Json json = new Json(text);
        Object value = json.value();
        json.space();
        if (json.at < text.length()) throw json.bad("the end");
        return value;
    }

    private IllegalArgumentException bad(String wanted) {
        return new IllegalArgumentException("expected " + wanted + " at character " + at + " of the JSON text");
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private boolean take(char c) {
        space();
        if (at >= text.length() || text.charAt(at) != c) return false;
        at++;
        return true;
    }

    private void need(char c) {
        if (!take(c)) throw bad("'" + c + "'");
    }

    private Object value() {
        space();
        if (at >= text.length()) throw bad("a value");
        char c = text.charAt(at);
        if (c == '"') return string();
        if (c == '{' || c == '[') {
            if (++depth > DEEPEST) throw bad("less nesting");
            Object nested = c == '{' ? object() : array();
            depth--;
            return nested;
        }
        if (word("true")) return true;
        if (word("false")) return false;
        if (word("null")) return null;
        return number();
    }

    private boolean word(String word) {
        if (!text.startsWith(word, at)) return false;
        at += word.length();
        return true;
    }

    private Map<String, Object> object() {
        Map<String, Object> map = new LinkedHashMap<>();
        need('{');
        if (take('}')) return map;
        do {
            space();
            String key = string();
            need(':');
            map.put(key, value());
        } while (take(','));
        need('}');
        return map;
    }

    private List<Object> array() {
        List<Object> list = new ArrayList<>();
        need('[');
        if (take(']')) return list;
        do list.add(value());
        while (take(','));
        need(']');
        return list;
    }

    private String string() {
        if (at >= text.length() || text.charAt(at) != '"') throw bad("a string");
        StringBuilder out = new StringBuilder();
        for (at++; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                at++;
                return out.toString();
            }
            if (c < ' ') throw bad("no control character");
            if (c == '\\') {
                if (++at >= text.length()) break;
                int escape = "\"\\/bfnrt".indexOf(text.charAt(at));
                if (escape >= 0) {
                    out.append("\"\\/\b\f\n\r\t".charAt(escape));
                } else if (text.charAt(at) == 'u' && at + 4 < text.length()) {
                    try {
                        out.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                    } catch (NumberFormatException e) {
                        throw bad("four hexadecimal digits");
                    }
                    at += 4;
                } else {
                    throw bad("an escape");
                }
            } else {
                out.append(c);
            }
        }
        throw bad("'\"'");
    }

    private Number number() {
        int from = at;
        while (at < text.length() && "+-0123456789.eE".indexOf(text.charAt(at)) >= 0) at++;
        String digits = text.substring(from, at);
        try {
            if (digits.matches("-?(0|[1-9][0-9]*)")) {
                BigInteger whole = new BigInteger(digits);
                if (whole.bitLength() < 32) return whole.intValue();
                return whole.bitLength() < 64 ? (Number) whole.longValue() : whole;
            }
            if (digits.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) return Double.valueOf(digits);
        } catch (NumberFormatException e) {
            // Said below.
        }
        at = from;
        throw bad("a value");
    }

    /** Writes a value; beans are taken apart by {@link Binder}. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value, 0);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value, int depth) {
        if (depth > DEEPEST) throw new IllegalArgumentException("the value refers to itself, or is nested too deeply");
        if (value == null || value instanceof Boolean) {
            out.append(value);
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) quote(out, value.toString());
            else out.append(value);
        } else if (value instanceof BigDecimal || value instanceof Number) {
            out.append(value);
        } else if (value instanceof CharSequence || value instanceof Character || value instanceof Enum) {
            quote(out, value instanceof Enum ? ((Enum<?>) value).name() : value.toString());
        } else if (value instanceof Map) {
            char open = '{';
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(open);
                quote(out, String.valueOf(entry.getKey()));
                out.append(':');
                write(out, entry.getValue(), depth + 1);
                open = ',';
            }
            out.append(open == '{' ? "{}" : "}");
        } else if (value instanceof byte[]) {
            quote(out, java.util.Base64.getEncoder().encodeToString((byte[]) value));
        } else if (value instanceof Iterable || value.getClass().isArray()) {
            char open = '[';
            for (Object item : value instanceof Iterable ? (Iterable<?>) value : items(value)) {
                out.append(open);
                write(out, item, depth + 1);
                open = ',';
            }
            out.append(open == '[' ? "[]" : "]");
        } else {
            write(out, Binder.parts(value), depth + 1);
        }
    }

    private static List<Object> items(Object array) {
        List<Object> items = new ArrayList<>();
        for (int i = 0; i < Array.getLength(array); i++) items.add(Array.get(array, i));
        return items;
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            int escape = "\"\\\b\f\n\r\t".indexOf(c);
            if (escape >= 0) out.append('\\').append("\"\\bfnrt".charAt(escape));
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        out.append('"');
    }
}
