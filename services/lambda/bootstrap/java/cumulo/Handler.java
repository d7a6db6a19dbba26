package cumulo;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The function's handler: a method with what it wants. */
final class Handler {
    private static final String API = "com.amazonaws.services.lambda.runtime.";

    private final Method method;
    private final Object instance;
    /** What the parameters are: {@code InputStream}, {@code OutputStream}, the context, or the event's type. */
    private final Type[] parameters;
    private final Type result;

    private Handler(Method method, Object instance, Type[] parameters, Type result) {
        this.method = method;
        this.instance = instance;
        this.parameters = parameters;
        this.result = result;
        method.setAccessible(true);
    }

    /** Finds {@code package.Class::method} or {@code package.Class}. */
    static Handler load(String name, ClassLoader loader) {
        int colons = name.indexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        String methodName = colons < 0 ? null : name.substring(colons + 2);
        if (className.isEmpty() || methodName != null && (methodName.isEmpty() || methodName.contains("::"))) {
            throw new Fault("Invalid handler: `" + name + "'");
        }
        Class<?> found;
        try {
            found = Class.forName(className, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Fault("Class not found: " + className, e, false);
        } catch (Throwable e) {
            throw new Fault("Error loading class " + className + (e.getMessage() == null ? "" : ": " + e.getMessage()), e, true);
        }
        try {
            return methodName == null ? byInterface(found) : byName(found, methodName);
        } catch (Fault e) {
            throw e;
        } catch (NoClassDefFoundError e) {
            String what = methodName == null ? "class " + className : "method " + methodName + " on class " + className;
            throw new Fault("Error loading " + what, e, false);
        } catch (Throwable e) {
            throw Fault.of(e, false);
        }
    }

    private static Handler byInterface(Class<?> found) throws Exception {
        for (String wanted : new String[] {"RequestStreamHandler", "RequestHandler"}) {
            Class<?> type = interfaceOf(found, API + wanted);
            if (type == null) continue;
            for (Method method : type.getMethods()) {
                if (!method.getName().equals("handleRequest")) continue;
                Type[] parameters = method.getGenericParameterTypes();
                Type result = method.getGenericReturnType();
                if (wanted.equals("RequestHandler")) {
                    Map<TypeVariable<?>, Type> known = new HashMap<>();
                    arguments(found, known);
                    for (TypeVariable<?> variable : type.getTypeParameters()) {
                        Type is = resolve(variable, known);
                        if (is instanceof TypeVariable && ((TypeVariable<?>) is).getBounds()[0] == Object.class) {
                            throw new Fault("Class " + found.getName() + " does not implement RequestHandler with concrete type parameters");
                        }
                    }
                    for (int i = 0; i < parameters.length; i++) parameters[i] = resolve(parameters[i], known);
                    result = resolve(result, known);
                }
                return new Handler(method, instance(found), parameters, result);
            }
        }
        throw new Fault("Class does not implement an appropriate handler interface: " + found.getName());
    }

    private static Class<?> interfaceOf(Class<?> type, String name) {
        for (Class<?> at = type; at != null; at = at.getSuperclass()) {
            if (at.getName().equals(name)) return at;
            for (Class<?> one : at.getInterfaces()) {
                Class<?> found = interfaceOf(one, name);
                if (found != null) return found;
            }
        }
        return null;
    }

    /** What the type variables of a class's ancestors stand for. */
    private static void arguments(Class<?> type, Map<TypeVariable<?>, Type> known) {
        List<Type> above = new ArrayList<>(Arrays.asList(type.getGenericInterfaces()));
        if (type.getGenericSuperclass() != null) above.add(type.getGenericSuperclass());
        for (Type one : above) {
            Class<?> raw = Binder.raw(one);
            if (one instanceof ParameterizedType) {
                Type[] given = ((ParameterizedType) one).getActualTypeArguments();
                for (int i = 0; i < given.length; i++) known.put(raw.getTypeParameters()[i], resolve(given[i], known));
            }
            arguments(raw, known);
        }
    }

    /** A type with its variables replaced where they are known. */
    static Type resolve(Type type, Map<TypeVariable<?>, Type> known) {
        if (type instanceof TypeVariable) return known.getOrDefault(type, type);
        if (!(type instanceof ParameterizedType) || known.isEmpty()) return type;
        ParameterizedType original = (ParameterizedType) type;
        Type[] given = original.getActualTypeArguments();
        for (int i = 0; i < given.length; i++) given[i] = resolve(given[i], known);
        return new ParameterizedType() {
            @Override
            public Type[] getActualTypeArguments() {
                return given;
            }

            @Override
            public Type getRawType() {
                return original.getRawType();
            }

            @Override
            public Type getOwnerType() {
                return original.getOwnerType();
            }
        };
    }

    private static Handler byName(Class<?> found, String name) throws Exception {
        List<Method> methods = new ArrayList<>();
        for (Method method : found.getMethods()) {
            if (method.getName().equals(name) && !method.isBridge()) methods.add(method);
        }
        // The longest first, and of those the ones that take the context.
        methods.sort((a, b) -> weight(b) - weight(a));
        Map<TypeVariable<?>, Type> known = new HashMap<>();
        arguments(found, known);
        for (Method method : methods) {
            Type[] parameters = method.getGenericParameterTypes();
            for (int i = 0; i < parameters.length; i++) parameters[i] = resolve(parameters[i], known);
            if (!isCallable(parameters)) continue;
            Object instance = Modifier.isStatic(method.getModifiers()) ? null : instance(found);
            return new Handler(method, instance, parameters, resolve(method.getGenericReturnType(), known));
        }
        throw new Fault("No public method named " + name + " with appropriate method signature found on class " + found.getName());
    }

    private static int weight(Method method) {
        Class<?>[] types = method.getParameterTypes();
        return 2 * types.length + (types.length > 0 && isContext(types[types.length - 1]) ? 1 : 0);
    }

    private static boolean isContext(Type type) {
        return Binder.raw(type).getName().equals(API + "Context");
    }

    private static boolean isCallable(Type[] parameters) {
        int length = parameters.length;
        if (length > 0 && isContext(parameters[length - 1])) length--;
        if (length == 2) return parameters[0] == InputStream.class && parameters[1] == OutputStream.class;
        return length == 0 || length == 1 && !isContext(parameters[0]);
    }

    private static Object instance(Class<?> found) throws Exception {
        Constructor<?> constructor;
        try {
            constructor = found.getConstructor();
        } catch (NoSuchMethodException e) {
            if (found.getEnclosingClass() != null && !Modifier.isStatic(found.getModifiers())) {
                throw new Exception("Class " + found.getName() + " cannot be instantiated because it is a non-static inner class");
            }
            throw new Exception("Class " + found.getName() + " has no public zero-argument constructor", e);
        }
        constructor.setAccessible(true);
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException e) {
            throw Fault.of(e.getCause() == null ? e : e.getCause(), true);
        }
    }

    /** Answers one event. */
    byte[] call(byte[] payload, Context context) throws Throwable {
        Object[] arguments = new Object[parameters.length];
        ByteArrayOutputStream out = null;
        boolean isStream = false;
        for (int i = 0; i < arguments.length; i++) {
            Type type = parameters[i];
            if (type == InputStream.class) {
                arguments[i] = new ByteArrayInputStream(payload);
                isStream = true;
            } else if (type == OutputStream.class) {
                out = new ByteArrayOutputStream(1024);
                arguments[i] = out;
                isStream = true;
            } else if (isContext(type)) {
                arguments[i] = context.as(Binder.raw(type));
            } else {
                try {
                    String text = new String(payload, StandardCharsets.UTF_8);
                    arguments[i] = Binder.bind(text.isEmpty() ? null : Json.read(text), type);
                } catch (Exception e) {
                    throw new RuntimeException("An error occurred during JSON parsing", Fault.cut(e));
                }
            }
        }
        Object answer;
        try {
            answer = method.invoke(instance, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause() == null ? e : e.getCause();
        }
        if (isStream) return out == null ? new byte[0] : out.toByteArray();
        if (result == void.class || result == Void.class) return "null".getBytes(StandardCharsets.UTF_8);
        try {
            return Json.write(answer).getBytes(StandardCharsets.UTF_8);
        } catch (Exception e) {
            throw new RuntimeException("An error occurred during JSON serialization of response", Fault.cut(e));
        }
    }
}
