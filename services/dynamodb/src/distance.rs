//! Vectors as they are stored and searched for, and how far they are from each other.

use serde::{Deserialize, Serialize};
use store::Record;

use crate::api::vector_distance_function;
use crate::number::Number;
use crate::value::Value;

/// How similar two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distance {
    /// 1 less the cosine of their angle: from 0 to 2.
    Cosine,
    /// The length of their difference.
    Euclidean,
    /// Their product, which is larger the more similar they are.
    DotProduct,
}

impl Distance {
    /// By its name.
    pub fn of(name: &str) -> Distance {
        match name {
            vector_distance_function::EUCLIDEAN => Distance::Euclidean,
            vector_distance_function::DOT_PRODUCT => Distance::DotProduct,
            _ => Distance::Cosine,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Distance::Cosine => vector_distance_function::COSINE,
            Distance::Euclidean => vector_distance_function::EUCLIDEAN,
            Distance::DotProduct => vector_distance_function::DOT_PRODUCT,
        }
    }

    /// The score of a stored vector.
    pub fn score(self, searched: &Searched, stored: &Vector) -> f64 {
        let numbers = &searched.numbers;
        match self {
            Distance::Euclidean => stored.sum(numbers, |a, b| (a - b) * (a - b)).sqrt(),
            Distance::DotProduct => stored.sum(numbers, |a, b| a * b),
            Distance::Cosine => {
                let lengths = searched.length * stored.sum(numbers, |_, b| b * b).sqrt();
                // A vector without a length has no direction: it is as far from every other as one at a right angle.
                let cosine = match lengths > 0.0 {
                    true => stored.sum(numbers, |a, b| a * b) / lengths,
                    false => 0.0,
                };
                (1.0 - cosine).clamp(0.0, 2.0)
            }
        }
    }

    /// The score as a number that is the smaller the more similar the vectors are.
    pub fn rank(self, score: f64) -> f64 {
        match self {
            Distance::DotProduct => -score,
            _ => score,
        }
    }
}

/// A vector that is searched for.
pub struct Searched {
    numbers: Vec<f32>,
    length: f64,
}

impl Searched {
    /// Of these numbers.
    pub fn new(numbers: Vec<f32>) -> Searched {
        let squares = numbers.iter().map(|n| f64::from(*n) * f64::from(*n));
        Searched {
            length: squares.sum::<f64>().sqrt(),
            numbers,
        }
    }
}

/// A vector as it is stored: 32-bit numbers, little endian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vector(#[serde(with = "serde_bytes")] Vec<u8>);

impl Record for Vector {}

impl Vector {
    /// Of these numbers.
    pub fn of(numbers: &[f32]) -> Vector {
        Vector(numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
    }

    fn numbers(&self) -> impl Iterator<Item = f32> {
        self.0.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
    }

    /// Adds up `f` over the pairs of numbers. In lanes of their own, which the processor adds at once.
    fn sum(&self, others: &[f32], f: impl Fn(f64, f64) -> f64) -> f64 {
        const LANES: usize = 8;
        let mut lanes = [0.0; LANES];
        let (own, own_rest) = self.0.as_chunks().0.as_chunks::<LANES>();
        let (others, others_rest) = others.as_chunks::<LANES>();
        let pair = |a: &f32, b: &[u8; 4]| f(f64::from(*a), f64::from(f32::from_le_bytes(*b)));
        for (others, own) in others.iter().zip(own) {
            for ((lane, a), b) in lanes.iter_mut().zip(others).zip(own) {
                *lane += pair(a, b);
            }
        }
        let rest = others_rest.iter().zip(own_rest).map(|(a, b)| pair(a, b));
        lanes.iter().sum::<f64>() + rest.sum::<f64>()
    }

    /// As an attribute's value.
    pub fn value(&self) -> Value {
        let number = |n: f32| Number::parse(&format!("{n:e}")).ok();
        Value::L(self.numbers().filter_map(number).map(Value::N).collect())
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// The numbers of a list, as an index keeps them; the place of the first that is none.
pub fn numbers(list: &[Value]) -> Result<Vec<f32>, usize> {
    let number = |(at, value): (usize, &Value)| match value {
        Value::N(number) => number
            .to_string()
            .parse()
            .ok()
            .filter(|n: &f32| n.is_finite())
            .ok_or(at),
        _ => Err(at),
    };
    list.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(stored: &[f32]) -> [f64; 3] {
        let stored = Vector::of(stored);
        [Distance::Cosine, Distance::Euclidean, Distance::DotProduct]
            .map(|distance| distance.score(&Searched::new(vec![1.0, 0.0, 0.0, 0.0]), &stored))
    }

    /// Scores that were measured on AWS for the same vectors.
    #[test]
    fn scores_are_those_of_aws() {
        assert_eq!(scores(&[10.0, 0.0, 0.0, 0.0]), [0.0, 9.0, 10.0]);
        assert_eq!(scores(&[-1.0, 0.0, 0.0, 0.0]), [2.0, 2.0, -1.0]);
        assert_eq!(scores(&[0.0, 0.0, 0.0, 0.0])[0], 1.0);
    }

    #[test]
    fn sums_in_lanes_are_sums() {
        for length in [1, 7, 8, 9, 31, 100] {
            let numbers: Vec<f32> = (0..length).map(|n| n as f32).collect();
            let squares: f64 = (0..length).map(|n| f64::from(n * n)).sum();
            let searched = Searched::new(numbers.clone());
            assert_eq!(
                Distance::DotProduct.score(&searched, &Vector::of(&numbers)),
                squares
            );
        }
    }

    #[test]
    fn a_vector_keeps_the_precision_of_32_bits() {
        let list =
            ["0.1", "1e-20", "-3", "16777217"].map(|text| Value::N(Number::parse(text).unwrap()));
        let vector = Vector::of(&numbers(&list).unwrap());
        let Value::L(back) = vector.value() else {
            panic!("no list");
        };
        let back: Vec<String> = back
            .iter()
            .map(|value| match value {
                Value::N(number) => number.to_string(),
                _ => String::new(),
            })
            .collect();
        assert_eq!(back[0], "0.1");
        assert_eq!(back[2..], ["-3", "16777216"]);
        let huge = [Value::N(Number::parse("1e39").unwrap())];
        assert_eq!(numbers(&huge), Err(0));
        assert_eq!(numbers(&[Value::S("1".into())]), Err(0));
    }
}
