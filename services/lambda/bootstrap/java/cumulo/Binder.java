package cumulo;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.UUID;

/** Makes objects of a function's types from JSON values, and JSON values from objects. */
final class Binder {
    private static final Map<Class<?>, Class<?>> BOXES = new HashMap<>();

    static {
        BOXES.put(int.class, Integer.class);
        BOXES.put(long.class, Long.class);
        BOXES.put(double.class, Double.class);
        BOXES.put(float.class, Float.class);
        BOXES.put(short.class, Short.class);
        BOXES.put(byte.class, Byte.class);
        BOXES.put(boolean.class, Boolean.class);
        BOXES.put(char.class, Character.class);
    }

    private Binder() {}

    /** The class of a type; type variables mean their bound. */
    static Class<?> raw(Type type) {
        if (type instanceof Class) return (Class<?>) type;
        if (type instanceof ParameterizedType) return raw(((ParameterizedType) type).getRawType());
        if (type instanceof TypeVariable) return raw(((TypeVariable<?>) type).getBounds()[0]);
        if (type instanceof WildcardType) return raw(((WildcardType) type).getUpperBounds()[0]);
        if (type instanceof GenericArrayType) return Array.newInstance(raw(((GenericArrayType) type).getGenericComponentType()), 0).getClass();
        return Object.class;
    }

    private static Type argument(Type type, int index) {
        if (!(type instanceof ParameterizedType)) return Object.class;
        Type[] all = ((ParameterizedType) type).getActualTypeArguments();
        return index < all.length ? all[index] : Object.class;
    }

    /** A JSON value as a type. */
    static Object bind(Object value, Type type) throws Exception {
        Class<?> target = BOXES.getOrDefault(raw(type), raw(type));
        if (value == null) return raw(type).isPrimitive() ? zero(raw(type)) : null;
        if (target == Object.class) return value;
        if (target == Optional.class) return Optional.ofNullable(bind(value, argument(type, 0)));
        if (target == String.class || target == CharSequence.class) {
            if (value instanceof Map || value instanceof List) throw mismatch(value, target);
            return String.valueOf(value);
        }
        if (target == Boolean.class) {
            if (value instanceof Boolean) return value;
            if ("true".equals(value) || "false".equals(value)) return Boolean.valueOf((String) value);
            throw mismatch(value, target);
        }
        if (target == Character.class && value instanceof String && ((String) value).length() == 1) return ((String) value).charAt(0);
        if (Number.class.isAssignableFrom(target) && target.getName().startsWith("java.")) return number(value, target);
        if (target.isEnum()) {
            for (Object constant : target.getEnumConstants()) {
                if (((Enum<?>) constant).name().equals(value)) return constant;
            }
            throw mismatch(value, target);
        }
        if (target == byte[].class && value instanceof String) return Base64.getDecoder().decode((String) value);
        if (target == java.nio.ByteBuffer.class) return java.nio.ByteBuffer.wrap(Base64.getDecoder().decode(String.valueOf(value)));
        if (target.isArray()) {
            List<?> items = list(value, target);
            Type item = type instanceof GenericArrayType ? ((GenericArrayType) type).getGenericComponentType() : target.getComponentType();
            Object array = Array.newInstance(target.getComponentType(), items.size());
            for (int i = 0; i < items.size(); i++) Array.set(array, i, bind(items.get(i), item));
            return array;
        }
        if (Collection.class.isAssignableFrom(target) || target == Iterable.class) return collection(list(value, target), target, argument(type, 0));
        if (Map.class.isAssignableFrom(target)) return map(value, target, type);
        if (target == Date.class && value instanceof Number) return new Date(((Number) value).longValue());
        if (target == Date.class) return Date.from(java.time.OffsetDateTime.parse(String.valueOf(value)).toInstant());
        if (target == UUID.class) return UUID.fromString(String.valueOf(value));
        return value instanceof Map ? bean((Map<?, ?>) value, type, target) : scalar(value, target);
    }

    private static IllegalArgumentException mismatch(Object value, Class<?> target) {
        String kind = value instanceof Map ? "an object" : value instanceof List ? "an array" : "the value " + value;
        return new IllegalArgumentException("Cannot make " + target.getName() + " from " + kind);
    }

    private static List<?> list(Object value, Class<?> target) {
        if (!(value instanceof List)) throw mismatch(value, target);
        return (List<?>) value;
    }

    private static Object zero(Class<?> primitive) {
        return primitive == void.class ? null : Array.get(Array.newInstance(primitive, 1), 0);
    }

    private static Object number(Object value, Class<?> target) {
        if (!(value instanceof Number) && !(value instanceof String)) throw mismatch(value, target);
        BigDecimal exact = new BigDecimal(value.toString());
        if (target == Integer.class) return exact.toBigInteger().intValueExact();
        if (target == Long.class) return exact.toBigInteger().longValueExact();
        if (target == Double.class) return exact.doubleValue();
        if (target == Float.class) return exact.floatValue();
        if (target == Short.class) return exact.toBigInteger().shortValueExact();
        if (target == Byte.class) return exact.toBigInteger().byteValueExact();
        if (target == BigInteger.class) return exact.toBigInteger();
        if (target == BigDecimal.class) return exact;
        if (target == Number.class && value instanceof Number) return value;
        throw mismatch(value, target);
    }

    @SuppressWarnings("unchecked")
    private static Object collection(List<?> items, Class<?> target, Type item) throws Exception {
        Collection<Object> all;
        if (target.isAssignableFrom(ArrayList.class)) all = new ArrayList<>();
        else if (target.isAssignableFrom(LinkedHashSet.class)) all = new LinkedHashSet<>();
        else if (target.isInterface()) all = Set.class.isAssignableFrom(target) ? (Collection<Object>) (Collection<?>) new java.util.TreeSet<>() : new java.util.ArrayDeque<>();
        else all = (Collection<Object>) make(target);
        for (Object one : items) all.add(bind(one, item));
        return all;
    }

    @SuppressWarnings("unchecked")
    private static Object map(Object value, Class<?> target, Type type) throws Exception {
        if (!(value instanceof Map)) throw mismatch(value, target);
        Map<Object, Object> all;
        if (target.isAssignableFrom(LinkedHashMap.class)) all = new LinkedHashMap<>();
        else if (SortedMap.class.isAssignableFrom(target) && target.isInterface()) all = new TreeMap<>();
        else if (target.isInterface()) all = new java.util.concurrent.ConcurrentHashMap<>();
        else all = (Map<Object, Object>) make(target);
        for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
            all.put(bind(entry.getKey(), argument(type, 0)), bind(entry.getValue(), argument(type, 1)));
        }
        return all;
    }

    /** A value class from a string or number: by `parse`, `valueOf`, `of` or a constructor of it. */
    private static Object scalar(Object value, Class<?> target) throws Exception {
        if (value instanceof List) throw mismatch(value, target);
        for (String name : new String[] {"parse", "valueOf", "of", "fromString"}) {
            for (Class<?> from : new Class<?>[] {String.class, CharSequence.class}) {
                try {
                    Method method = target.getMethod(name, from);
                    if (Modifier.isStatic(method.getModifiers()) && target.isAssignableFrom(method.getReturnType())) {
                        return called(method, null, String.valueOf(value));
                    }
                } catch (NoSuchMethodException e) {
                    // The next may be there.
                }
            }
        }
        for (Constructor<?> constructor : target.getConstructors()) {
            Class<?>[] parameters = constructor.getParameterTypes();
            if (parameters.length != 1) continue;
            Class<?> only = BOXES.getOrDefault(parameters[0], parameters[0]);
            if (only == String.class || Number.class.isAssignableFrom(only) && value instanceof Number) {
                return constructor.newInstance(bind(value, parameters[0]));
            }
        }
        throw mismatch(value, target);
    }

    private static Object bean(Map<?, ?> values, Type type, Class<?> target) throws Exception {
        if (target.isInterface() || Modifier.isAbstract(target.getModifiers())) throw mismatch(values, target);
        Map<TypeVariable<?>, Type> known = new HashMap<>();
        for (int i = 0; i < target.getTypeParameters().length; i++) known.put(target.getTypeParameters()[i], argument(type, i));
        if (isRecord(target)) return record(values, target, known);
        Object bean = make(target);
        for (Map.Entry<?, ?> entry : values.entrySet()) {
            String name = String.valueOf(entry.getKey());
            Method setter = setter(target, name);
            Field field = setter == null ? field(target, name) : null;
            // What the class does not know is left out, as it is on AWS.
            if (setter != null) called(setter, bean, bind(entry.getValue(), Handler.resolve(setter.getGenericParameterTypes()[0], known)));
            else if (field != null) field.set(bean, bind(entry.getValue(), Handler.resolve(field.getGenericType(), known)));
        }
        return bean;
    }

    private static boolean isRecord(Class<?> type) {
        return type.getSuperclass() != null && type.getSuperclass().getName().equals("java.lang.Record");
    }

    private static Object record(Map<?, ?> values, Class<?> target, Map<TypeVariable<?>, Type> known) throws Exception {
        List<Class<?>> types = new ArrayList<>();
        List<Object> arguments = new ArrayList<>();
        for (Field field : target.getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers())) continue;
            types.add(field.getType());
            arguments.add(bind(values.get(field.getName()), Handler.resolve(field.getGenericType(), known)));
        }
        Constructor<?> constructor = target.getDeclaredConstructor(types.toArray(new Class<?>[0]));
        constructor.setAccessible(true);
        return constructor.newInstance(arguments.toArray());
    }

    /** A new object, its fields to be set; one without an empty constructor is made by its longest from nothing. */
    private static Object make(Class<?> target) throws Exception {
        Constructor<?> chosen = null;
        for (Constructor<?> constructor : target.getDeclaredConstructors()) {
            int length = constructor.getParameterTypes().length;
            if (length == 0) {
                chosen = constructor;
                break;
            }
            if (chosen == null || length > chosen.getParameterTypes().length) chosen = constructor;
        }
        if (chosen == null) throw mismatch(Collections.emptyMap(), target);
        chosen.setAccessible(true);
        Class<?>[] types = chosen.getParameterTypes();
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) arguments[i] = types[i].isPrimitive() ? zero(types[i]) : null;
        return chosen.newInstance(arguments);
    }

    private static Method setter(Class<?> target, String name) {
        Method found = null;
        for (Method method : target.getMethods()) {
            if (method.getParameterTypes().length != 1 || Modifier.isStatic(method.getModifiers()) || method.isBridge()) continue;
            if (!method.getName().equalsIgnoreCase("set" + name)) continue;
            if (found == null || method.getName().equals("set" + name)) found = method;
        }
        return found;
    }

    private static Field field(Class<?> target, String name) {
        Field found = null;
        for (Class<?> type = target; type != null && type != Object.class; type = type.getSuperclass()) {
            for (Field field : type.getDeclaredFields()) {
                if (Modifier.isStatic(field.getModifiers()) || !field.getName().equalsIgnoreCase(name)) continue;
                if (found == null || field.getName().equals(name)) found = field;
            }
        }
        if (found != null) found.setAccessible(true);
        return found;
    }

    private static Object called(Method method, Object on, Object... arguments) throws Exception {
        method.setAccessible(true);
        try {
            return method.invoke(on, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Exception) throw (Exception) e.getCause();
            throw e;
        }
    }

    /** What is written of an object: its properties by getters, and its public fields. */
    static Object parts(Object bean) {
        Class<?> type = bean.getClass();
        if (bean instanceof Optional) return ((Optional<?>) bean).orElse(null);
        if (bean instanceof Date) return ((Date) bean).getTime();
        if (type.getName().startsWith("java.") || type.getName().startsWith("org.joda.time.")) return bean.toString();
        Map<String, Object> parts = new TreeMap<>();
        try {
            for (Field field : type.getFields()) {
                if (Modifier.isStatic(field.getModifiers()) || Modifier.isTransient(field.getModifiers())) continue;
                field.setAccessible(true);
                parts.put(field.getName(), field.get(bean));
            }
            for (Method method : type.getMethods()) {
                String name = property(method, isRecord(type) ? type : null);
                if (name != null) parts.put(name, called(method, bean));
            }
        } catch (Exception e) {
            throw new IllegalArgumentException("Cannot write " + type.getName(), e);
        }
        return parts;
    }

    private static String property(Method method, Class<?> record) {
        String name = method.getName();
        Class<?> result = method.getReturnType();
        if (method.getParameterTypes().length > 0 || Modifier.isStatic(method.getModifiers()) || result == void.class || method.isBridge()) return null;
        if (method.getDeclaringClass() == Object.class) return null;
        if (record != null) return field(record, name) != null ? name : null;
        int cut = name.startsWith("get") ? 3 : name.startsWith("is") && (result == boolean.class || result == Boolean.class) ? 2 : name.length();
        return cut < name.length() ? lower(name.substring(cut)) : null;
    }

    /** The leading capitals in lower case: `URL` is `url`, `FirstName` is `firstName`. */
    private static String lower(String name) {
        int end = 0;
        while (end < name.length() && Character.isUpperCase(name.charAt(end))) end++;
        // As Jackson does it: all that lead.
        return name.substring(0, end).toLowerCase(java.util.Locale.ROOT) + name.substring(end);
    }
}
